# DETR R50, 50 epochs on 8 GPUs x 2 images: where the chain of configs/ablations/ to DINO starts.
#   tools/dist_train.sh configs/detr_r50_8xb2-50e_coco.py 8
# Cost: a third of the 150 epochs of detr_r50_8xb2-150e_coco.py.
# Result of the authors: 34.8 AP, 55.5 AP50 (measured by those of Conditional DETR).
_base_ = [
    '_base_/models/detr_r50.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_50e.py',
    '_base_/default_runtime.py',
]
