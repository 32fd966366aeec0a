# DETR R18, the small one.
#   tools/dist_train.sh configs/detr_r18_8xb2-150e_coco.py 8
# Cost and result: not measured, and the paper has none.
_base_ = './detr_r50_8xb2-150e_coco.py'
model = dict(
    backbone=dict(depth=18, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18'))
)
