# Boxes and masks of one's own COCO-format data, on one GPU: 4 images a step, 4 steps an update,
# from the published panoptic R50, whose mask head comes along. A child changes classes and paths.
#   python tools/train.py configs/my_data.py
# Cost and result: depend on the data.
_base_ = [
    '_base_/models/detr_r50_masks.py',
    '_base_/datasets/custom_coco_instance.py',
    '_base_/schedules/schedule_finetune.py',
    '_base_/default_runtime.py',
]
load_from = 'https://dl.fbaipublicfiles.com/detr/detr-r50-panoptic-00ce5173.pth'
model = dict(backbone=dict(init_cfg=None))
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(accumulative_counts=4)
default_hooks = dict(checkpoint=dict(save_best='coco/segm_mAP'))
