# From DETR to DINO, step 6: four maps, strides 8 to 64.
#   tools/dist_train.sh configs/ablations/detr_r50_8xb2-50e_coco_6-multi-scale.py 8
# Cost: more than twice that of the parent. Result: none published for this step alone.
_base_ = './detr_r50_8xb2-50e_coco_5-deformable.py'
model = dict(
    backbone=dict(out_indices=(1, 2, 3)),
    neck=dict(_delete_=True, type='ChannelMapper', out_channels=256, num_outs=4),
    bbox_head=dict(transformer=dict(num_levels=4)),
)
