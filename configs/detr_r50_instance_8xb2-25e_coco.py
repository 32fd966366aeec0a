# DETR R50 for instance segmentation: the mask head on the published box model, which is frozen.
#   tools/dist_train.sh configs/detr_r50_instance_8xb2-25e_coco.py 8
# Cost: not measured here. Result: not stated by the authors; boxes keep their 42.0.
_base_ = [
    '_base_/models/detr_r50_masks.py',
    '_base_/datasets/coco_instance.py',
    '_base_/schedules/schedule_masks_25e.py',
    '_base_/default_runtime.py',
]
load_from = 'https://dl.fbaipublicfiles.com/detr/detr-r50-e632da11.pth'
model = dict(backbone=dict(init_cfg=None), trained_parts=['bbox_head.mask_head'])
default_hooks = dict(checkpoint=dict(save_best='coco/segm_mAP'))
