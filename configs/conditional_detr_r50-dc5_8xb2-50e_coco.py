# Conditional DETR-DC5 R50: the last stage of the backbone at stride 16 by dilation.
#   tools/dist_train.sh configs/conditional_detr_r50-dc5_8xb2-50e_coco.py 8
# Cost: not stated by the authors. Result of the authors: 43.7 AP.
_base_ = './conditional_detr_r50_8xb2-50e_coco.py'
model = dict(backbone=dict(dilation=True))
