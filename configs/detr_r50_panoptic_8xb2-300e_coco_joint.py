# DETR R50 for panoptic segmentation in one stage: boxes and masks together, from ImageNet weights.
#   tools/dist_train.sh configs/detr_r50_panoptic_8xb2-300e_coco_joint.py 8
# Cost: not measured here. Result: not stated by the authors, who say that it is about that of two
# stages.
_base_ = [
    '_base_/models/detr_r50_panoptic.py',
    '_base_/datasets/coco_panoptic.py',
    '_base_/schedules/schedule_300e.py',
    '_base_/default_runtime.py',
]
auto_scale_lr = dict(base_batch_size=16)
default_hooks = dict(checkpoint=dict(save_best='coco_panoptic/PQ'))
