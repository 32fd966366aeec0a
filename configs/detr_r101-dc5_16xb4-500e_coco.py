# DETR-DC5 R101, 237 GMAC at 800 x 1066.
#   tools/dist_train.sh configs/detr_r101-dc5_16xb4-500e_coco.py 16
# Cost: not stated by the paper. Result of the paper: 44.9 AP, 64.7 AP50.
_base_ = './detr_r101_16xb4-500e_coco.py'
model = dict(backbone=dict(dilation=True))
