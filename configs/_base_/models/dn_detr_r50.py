# DN-DETR with a ResNet-50 backbone for the 80 classes of COCO: DAB-DETR and 5 groups of denoising
# queries in training.
_base_ = './dab_detr_r50.py'
model = dict(
    bbox_head=dict(
        denoising=dict(type='GroupDenoising', num_groups=5, label_noise=0.2, box_noise=0.4),
        criterion=dict(type='QueryCriterion', denoising_background=False),
    ),
)
