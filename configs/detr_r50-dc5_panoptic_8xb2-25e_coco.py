# DETR-DC5 R50 for panoptic segmentation, second stage. Published detr-r50-dc5-panoptic-da08f1b1.pth
# is tested with this config.
#   tools/dist_train.sh configs/detr_r50-dc5_panoptic_8xb2-25e_coco.py 8
# Cost: not measured here. Result of the authors: 40.2 AP of boxes, 31.9 AP of masks, 44.6 PQ.
_base_ = './detr_r50_panoptic_8xb2-25e_coco.py'
load_from = 'work_dirs/detr_r50-dc5_panoptic_8xb2-300e_coco_boxes/epoch_300.pth'
model = dict(backbone=dict(dilation=True))
