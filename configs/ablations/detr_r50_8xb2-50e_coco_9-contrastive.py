# From DETR to DINO, step 9: contrastive denoising, which has negatives. What DINO has beyond it is
# size: 900 queries, and its recipe.
#   tools/dist_train.sh configs/ablations/detr_r50_8xb2-50e_coco_9-contrastive.py 8
# Cost: about that of the parent. Result: none published for this step alone.
_base_ = './detr_r50_8xb2-50e_coco_8-two-stage.py'
model = dict(
    bbox_head=dict(
        denoising=dict(_delete_=True, type='ContrastiveDenoising'),
        criterion=dict(denoising_background=True),
    )
)
