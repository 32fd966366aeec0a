# Deformable DETR R50 on the last feature map alone, dilated to stride 16.
#   tools/dist_train.sh configs/deformable_detr_r50-dc5_16xb2-50e_coco_single-scale.py 16
# Cost: 215 hours of one V100 (authors). Result of the authors: 41.5 AP
# (github.com/fundamentalvision/Deformable-DETR).
_base_ = './deformable_detr_r50_16xb2-50e_coco_single-scale.py'
model = dict(backbone=dict(dilation=True))
