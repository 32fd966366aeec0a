# From DETR to DINO, step 9: contrastive denoising, look forward twice, a norm of what is predicted
# from, and no scale on positions. DINO's config has 900 queries and no dropout beside.
#   tools/dist_train.sh configs/ablations/detr_r50_8xb2-50e_coco_9-dino.py 8
# Cost: about that of the parent. Result: none published for this step alone.
_base_ = './detr_r50_8xb2-50e_coco_8-two-stage.py'
model = dict(
    bbox_head=dict(
        denoising=dict(_delete_=True, type='ContrastiveDenoising'),
        transformer=dict(decoder=dict(query_scale=False, norm=True, look_forward_twice=True)),
        criterion=dict(denoising_background=True),
    )
)
