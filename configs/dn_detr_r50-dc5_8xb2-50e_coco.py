# DN-DETR-DC5 R50.
#   tools/dist_train.sh configs/dn_detr_r50-dc5_8xb2-50e_coco.py 8
# Cost: not stated by the authors. Result of the authors: 46.3 AP.
_base_ = './dn_detr_r50_8xb2-50e_coco.py'
model = dict(backbone=dict(dilation=True))
