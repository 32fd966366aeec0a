# RT-DETRv2 R34: everything trains, 4 decoder layers.
#   tools/dist_train.sh configs/rtdetrv2_r34vd_8xb2-120e_coco.py 8 --amp
# Cost: not stated by the authors, 31.4 M parameters. Result of the authors: 49.9 AP
# (lyuwenyu/RT-DETR, rtdetrv2_pytorch/README.md).
_base_ = './rtdetrv2_r50vd_8xb2-72e_coco.py'
model = dict(
    backbone=dict(
        depth=34,
        frozen_stages=-1,
        norm_frozen=False,
        init_cfg=dict(
            checkpoint='https://github.com/lyuwenyu/storage/releases/download/v0.1/ResNet34_vd_pretrained_from_paddle.pth'
        ),
    ),
    neck=dict(expansion=0.5),
    bbox_head=dict(transformer=dict(num_layers=4)),
)
train_cfg = dict(max_epochs=120)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={'backbone': dict(lr_mult=0.5), 'in_proj_bias': dict(decay_mult=0.0)},
        bias_decay_mult=0.0,
    )
)
custom_hooks = [
    {{_base_.average}},
    dict(
        type='PipelineSwitchHook',
        switch_epoch=117,
        switch_pipeline={{_base_.plain_pipeline}},
    ),
]
