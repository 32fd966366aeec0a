# Deformable DETR R50, 50 epochs on 16 GPUs x 2 images.
#   tools/dist_train.sh configs/deformable_detr_r50_16xb2-50e_coco.py 16
# Cost: 325 hours of one V100 (authors). Result of the authors: 44.5 AP
# (github.com/fundamentalvision/Deformable-DETR).
_base_ = [
    '_base_/models/deformable_detr_r50.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_50e_deformable.py',
    '_base_/default_runtime.py',
]
