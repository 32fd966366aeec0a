# DETR R50, 300 epochs (rate drop at 200) on 16 GPUs x 4 images: the schedule of the paper's
# ablations.
#   tools/dist_train.sh configs/detr_r50_16xb4-300e_coco.py 16
# Cost: 3 days on 16 V100 (paper). Result of the paper: 40.6 AP, 61.6 AP50.
_base_ = [
    '_base_/models/detr_r50.py',
    '_base_/datasets/coco_detection.py',
    '_base_/schedules/schedule_300e.py',
    '_base_/default_runtime.py',
]
train_dataloader = dict(batch_size=4)
