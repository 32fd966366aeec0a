# From DETR to DINO, step 2: conditional attention around reference points.
#   tools/dist_train.sh configs/ablations/detr_r50_8xb2-50e_coco_2-conditional.py 8
# Cost: about that of the parent. Result: none published for this step alone.
_base_ = './detr_r50_8xb2-50e_coco_1-focal.py'
model = dict(
    bbox_head=dict(
        type='ConditionalHead', transformer=dict(decoder=dict(type='ConditionalDecoder'))
    )
)
