# From DETR to DINO, step 4: denoising queries in training.
#   tools/dist_train.sh configs/ablations/detr_r50_8xb2-50e_coco_4-denoising.py 8
# Cost: about that of the parent. Result: none published for this step alone.
_base_ = './detr_r50_8xb2-50e_coco_3-anchors.py'
model = dict(
    bbox_head=dict(
        denoising=dict(type='GroupDenoising'),
        criterion=dict(type='QueryCriterion', denoising_background=False),
    )
)
