# Fine-tune the published R50 on one's own COCO-format data, on one GPU: 4 images a step, 4 steps an
# update, 30 epochs. A child changes classes and paths (README, "Your own data").
#   python tools/train.py configs/my_data.py
# Cost and result: depend on the data.
_base_ = [
    '_base_/models/detr_r50.py',
    '_base_/datasets/custom_coco_detection.py',
    '_base_/schedules/schedule_finetune.py',
    '_base_/default_runtime.py',
]
# The file that the authors publish (42.0 AP on COCO); it holds the backbone too.
load_from = 'https://dl.fbaipublicfiles.com/detr/detr-r50-e632da11.pth'
model = dict(backbone=dict(init_cfg=None))
train_dataloader = dict(batch_size=4)
# Together with the 4 images the total batch of 16 that the learning rate belongs to.
optim_wrapper = dict(accumulative_counts=4)
