# From DETR to DINO, step 5: deformable attention in encoder and decoder, on the last map alone.
#   tools/dist_train.sh configs/ablations/detr_r50_8xb2-50e_coco_5-deformable.py 8
# Cost: about that of the parent. Result: none published for this step alone.
_base_ = './detr_r50_8xb2-50e_coco_4-denoising.py'
model = dict(
    bbox_head=dict(
        type='DeformableDETRHead',
        query_source=dict(type='AnchorQueries', indicator=True),
        with_box_refine=True,
        share_branches=True,
        eps=1e-3,
        transformer=dict(
            _delete_=True,
            type='DeformableTransformer',
            num_levels=1,
            encoder=dict(type='DeformableEncoder'),
            decoder=dict(type='AnchorDeformableDecoder', query_scale=True),
            feedforward_channels=2048,
        ),
    )
)
