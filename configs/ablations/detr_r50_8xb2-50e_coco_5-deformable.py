# From DETR to DINO, step 5: deformable attention around the anchors, which stay where they are.
#   tools/dist_train.sh configs/ablations/detr_r50_8xb2-50e_coco_5-deformable.py 8
# Cost: about that of the parent. Result: none published for this step alone.
_base_ = './detr_r50_8xb2-50e_coco_4-denoising.py'
model = dict(
    neck=dict(_delete_=True, type='ChannelMapper', out_channels=256),
    bbox_head=dict(
        type='DeformableDETRHead',
        query_source=dict(type='AnchorQueries', indicator=True),
        eps=1e-3,
        transformer=dict(
            _delete_=True,
            type='DeformableTransformer',
            feedforward_channels=2048,
            num_levels=1,
            decoder=dict(type='AnchorDeformableDecoder', query_scale=True),
        ),
    ),
)
