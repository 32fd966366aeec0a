# Conditional DETR R101.
#   tools/dist_train.sh configs/conditional_detr_r101_8xb2-50e_coco.py 8
# Cost: not stated by the authors. Result of the authors: 42.8 AP.
_base_ = './conditional_detr_r50_8xb2-50e_coco.py'
model = dict(
    backbone=dict(depth=101, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'))
)
