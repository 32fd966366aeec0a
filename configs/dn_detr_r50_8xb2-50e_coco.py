# DN-DETR R50, 50 epochs on 8 GPUs x 2 images.
#   tools/dist_train.sh configs/dn_detr_r50_8xb2-50e_coco.py 8
# Cost: not stated by the authors.
# Result of the authors: 44.4 AP (github.com/IDEA-Research/DN-DETR).
_base_ = [
    '_base_/models/dn_detr_r50.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_50e.py',
    '_base_/default_runtime.py',
]
