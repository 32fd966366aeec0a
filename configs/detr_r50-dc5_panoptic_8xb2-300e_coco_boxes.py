# DETR-DC5 R50 for panoptic segmentation, first stage: things and stuff as boxes.
#   tools/dist_train.sh configs/detr_r50-dc5_panoptic_8xb2-300e_coco_boxes.py 8
# Cost: not measured here. Result: not measured here; the authors state that of the second stage.
_base_ = './detr_r50_panoptic_8xb2-300e_coco_boxes.py'
model = dict(backbone=dict(dilation=True))
