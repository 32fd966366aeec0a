# From DETR to DINO, step 3: queries are anchor boxes, moved layer by layer.
#   tools/dist_train.sh configs/ablations/detr_r50_8xb2-50e_coco_3-anchors.py 8
# Cost: about that of the parent. Result: none published for this step alone.
_base_ = './detr_r50_8xb2-50e_coco_2-conditional.py'
model = dict(
    bbox_head=dict(
        type='AnchorHead',
        transformer=dict(
            encoder=dict(type='ScaledPositionEncoder'),
            decoder=dict(type='AnchorDecoder', activation='relu'),
        ),
    )
)
