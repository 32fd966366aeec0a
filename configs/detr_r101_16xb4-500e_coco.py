# DETR R101, 145 GMAC at 800 x 1066.
#   tools/dist_train.sh configs/detr_r101_16xb4-500e_coco.py 16
# Cost: not stated by the paper. Result of the paper: 43.5 AP, 63.8 AP50.
_base_ = './detr_r50_16xb4-500e_coco.py'
model = dict(
    backbone=dict(depth=101, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'))
)
