# D-FINE-M: HGNetV2-B2, everything trains.
#   tools/dist_train.sh configs/dfine_m_8xb4-132e_coco.py 8 --amp
# Cost: not stated by the authors, 19.6 M parameters. Result of the authors: 52.3 AP
# (Peterande/D-FINE, README.md).
_base_ = './dfine_l_8xb4-80e_coco.py'
model = dict(
    data_preprocessor=dict(sizes=[480, 512, 544, 576, 608, *[640] * 6, 672, 704, 736, 768, 800]),
    backbone=dict(
        size='B2',
        affine=True,
        frozen_stages=-1,
        norm_frozen=False,
        init_cfg=dict(
            checkpoint='https://github.com/Peterande/storage/releases/download/dfinev1.0/PPHGNetV2_B2_stage1.pth'
        ),
    ),
    neck=dict(num_blocks=2),
    bbox_head=dict(transformer=dict(num_layers=4)),
)
train_cfg = dict(max_epochs=132)
optim_wrapper = dict(
    optimizer=dict(lr=2e-4, weight_decay=1e-4),
    paramwise_cfg=dict(
        custom_keys={'backbone': dict(lr_mult=0.1), 'in_proj_bias': dict(decay_mult=0.0)},
        bias_decay_mult=0.0,
    ),
)
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='ExpMomentumEMA',
        momentum=1e-4,
        gamma=1000,
        update_buffers=True,
    ),
    dict(
        type='PipelineSwitchHook',
        switch_epoch=120,
        switch_pipeline={{_base_.plain_pipeline}},
    ),
    dict(type='BestStateHook', switch_epoch=120),
]
