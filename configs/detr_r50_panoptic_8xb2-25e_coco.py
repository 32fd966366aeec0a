# DETR R50 for panoptic segmentation, second stage: the mask head on the frozen box model. Published
# detr-r50-panoptic-00ce5173.pth is tested with this config.
#   tools/dist_train.sh configs/detr_r50_panoptic_8xb2-25e_coco.py 8
# Cost: not measured here. Result of the authors: 38.8 AP of boxes, 31.1 AP of masks, 43.4 PQ.
_base_ = [
    '_base_/models/detr_r50_panoptic.py',
    '_base_/datasets/coco_panoptic.py',
    '_base_/schedules/schedule_masks_25e.py',
    '_base_/default_runtime.py',
]
load_from = 'work_dirs/detr_r50_panoptic_8xb2-300e_coco_boxes/epoch_300.pth'
model = dict(backbone=dict(init_cfg=None), trained_parts=['bbox_head.mask_head'])
default_hooks = dict(checkpoint=dict(save_best='coco_panoptic/PQ'))
