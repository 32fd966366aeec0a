# DN-DETR-DC5 R50 with 3 patterns, 12 epochs; learning rate / 10 after 11, which the authors do not
# state (it is DINO's).
#   tools/dist_train.sh configs/dn_detr_r50-dc5_8xb2-12e_coco_3-patterns.py 8
# Cost: not stated by the authors. Result of the authors: 41.7 AP.
_base_ = './dn_detr_r50-dc5_8xb2-50e_coco.py'
model = dict(bbox_head=dict(num_patterns=3))
train_cfg = dict(max_epochs=12)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[11], gamma=0.1)
]
