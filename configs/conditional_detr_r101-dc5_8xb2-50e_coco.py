# Conditional DETR-DC5 R101.
#   tools/dist_train.sh configs/conditional_detr_r101-dc5_8xb2-50e_coco.py 8
# Cost: not stated by the authors. Result of the authors: 45.0 AP.
_base_ = './conditional_detr_r101_8xb2-50e_coco.py'
model = dict(backbone=dict(dilation=True))
