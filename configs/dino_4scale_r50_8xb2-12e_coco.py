# DINO R50 with 4 feature maps, 12 epochs on 8 GPUs x 2 images.
#   tools/dist_train.sh configs/dino_4scale_r50_8xb2-12e_coco.py 8
# Cost: not stated by the authors. Result of the authors: 49.0 AP
# (github.com/IDEA-Research/DINO).
_base_ = [
    '_base_/models/dino_4scale_r50.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_12e.py',
    '_base_/default_runtime.py',
]
