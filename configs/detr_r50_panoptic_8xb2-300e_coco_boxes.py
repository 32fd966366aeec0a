# DETR R50 for panoptic segmentation, first stage: things and stuff as boxes.
#   tools/dist_train.sh configs/detr_r50_panoptic_8xb2-300e_coco_boxes.py 8
# Cost: 3 days on 16 V100 for a COCO model of as many epochs (paper). Result: not measured here; the
# authors state that of the second stage.
_base_ = [
    '_base_/models/detr_r50.py',
    '_base_/datasets/coco_panoptic_boxes.py',
    '_base_/schedules/schedule_300e.py',
    '_base_/default_runtime.py',
]
model = dict(bbox_head=dict(num_classes=133))
auto_scale_lr = dict(base_batch_size=16)
