# DINO R50 with 5 feature maps, 24 epochs on 8 GPUs x 2 images.
#   tools/dist_train.sh configs/dino_5scale_r50_8xb2-24e_coco.py 8
# Cost: not stated by the authors. Result of the authors: 51.3 AP
# (github.com/IDEA-Research/DINO).
_base_ = './dino_5scale_r50_8xb2-12e_coco.py'
train_cfg = dict(max_epochs=24)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=24, by_epoch=True, milestones=[20], gamma=0.1)
]
