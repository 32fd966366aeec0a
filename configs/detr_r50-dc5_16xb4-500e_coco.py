# DETR-DC5 R50: the last stage of the backbone at stride 16 by dilation, 173 GMAC at 800 x 1066.
#   tools/dist_train.sh configs/detr_r50-dc5_16xb4-500e_coco.py 16
# Cost: 99 hours on 64 V100 (authors). Result of the paper: 43.3 AP, 63.1 AP50.
_base_ = './detr_r50_16xb4-500e_coco.py'
model = dict(backbone=dict(dilation=True))
