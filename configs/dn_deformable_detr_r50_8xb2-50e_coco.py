# DN-Deformable DETR R50, 50 epochs on 8 GPUs x 2 images: with denoising in training.
#   tools/dist_train.sh configs/dn_deformable_detr_r50_8xb2-50e_coco.py 8
# Cost: not stated by the authors. Result of the authors: 49.5 AP
# (github.com/IDEA-Research/DN-DETR).
_base_ = './dab_deformable_detr_r50_8xb2-50e_coco.py'
model = dict(
    bbox_head=dict(
        query_source=dict(indicator=True),
        denoising=dict(type='GroupDenoising', num_groups=5, label_noise=0.2, box_noise=0.4),
        criterion=dict(denoising_background=False),
    )
)
