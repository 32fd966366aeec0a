# DETR R101 for panoptic segmentation, second stage. Published detr-r101-panoptic-40021d53.pth is
# tested with this config.
#   tools/dist_train.sh configs/detr_r101_panoptic_8xb2-25e_coco.py 8
# Cost: not measured here. Result of the authors: 40.1 AP of boxes, 33.0 AP of masks, 45.1 PQ.
_base_ = './detr_r50_panoptic_8xb2-25e_coco.py'
load_from = 'work_dirs/detr_r101_panoptic_8xb2-300e_coco_boxes/epoch_300.pth'
model = dict(backbone=dict(depth=101))
