# Deformable DETR R50 on the last feature map alone.
#   tools/dist_train.sh configs/deformable_detr_r50_16xb2-50e_coco_single-scale.py 16
# Cost: 160 hours of one V100 (authors). Result of the authors: 39.4 AP
# (github.com/fundamentalvision/Deformable-DETR).
_base_ = './deformable_detr_r50_16xb2-50e_coco.py'
model = dict(
    backbone=dict(out_indices=(3,)),
    neck=dict(num_outs=1),
    bbox_head=dict(transformer=dict(num_levels=1)),
)
