# DETR R50, 500 epochs (learning rate drop at 400) on 16 GPUs x 4 images: the paper's main result.
#   tools/dist_train.sh configs/detr_r50_16xb4-500e_coco.py 16
# Cost: 85 hours on 32 V100 (authors). Result of the paper: 42.0 AP, 62.4 AP50.
_base_ = [
    '_base_/models/detr_r50.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_500e.py',
    '_base_/default_runtime.py',
]
train_dataloader = dict(batch_size=4)
