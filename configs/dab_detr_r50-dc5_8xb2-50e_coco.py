# DAB-DETR-DC5 R50.
#   tools/dist_train.sh configs/dab_detr_r50-dc5_8xb2-50e_coco.py 8
# Cost: not stated by the authors. Result of the authors: 44.5 AP.
_base_ = './dab_detr_r50_8xb2-50e_coco.py'
model = dict(backbone=dict(dilation=True))
