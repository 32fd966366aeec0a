# DINO R50 with 4 feature maps, 36 epochs on 8 GPUs x 2 images.
#   tools/dist_train.sh configs/dino_4scale_r50_8xb2-36e_coco.py 8
# Cost: not stated by the authors. Result of the authors: 50.9 AP
# (github.com/IDEA-Research/DINO).
_base_ = './dino_4scale_r50_8xb2-12e_coco.py'
train_cfg = dict(max_epochs=36)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=36, by_epoch=True, milestones=[30], gamma=0.1)
]
