# DAB-Deformable DETR R50, 50 epochs on 8 GPUs x 2 images.
#   tools/dist_train.sh configs/dab_deformable_detr_r50_8xb2-50e_coco.py 8
# Cost: not stated by the authors. Result of the authors: 48.7 AP
# (github.com/IDEA-Research/DAB-DETR, with other loss weights than the defaults taken here).
_base_ = [
    '_base_/models/dab_deformable_detr_r50.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_50e.py',
    '_base_/default_runtime.py',
]
