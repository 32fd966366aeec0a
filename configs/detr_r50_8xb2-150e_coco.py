# DETR R50, 150 epochs on 8 GPUs x 2 images.
#   tools/dist_train.sh configs/detr_r50_8xb2-150e_coco.py 8
# Cost: about 3 days on 8 V100 (authors). Result of the authors: 39.5 AP, 60.3 AP50.
_base_ = [
    '_base_/models/detr_r50.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_150e.py',
    '_base_/default_runtime.py',
]
