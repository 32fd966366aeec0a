# 72 epochs at a constant rate after a linear warm-up; averaged weights that warm up, too; strong
# augmentation ends one epoch before the end. With --amp as the authors. A child that changes the
# number of epochs sets max_epochs and custom_hooks.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=72, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4, fused=True),
    clip_grad=dict(max_norm=0.1, norm_type=2),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}, norm_decay_mult=0.0),
)
param_scheduler = [dict(type='LinearLR', start_factor=5e-4, by_epoch=False, begin=0, end=2000)]
auto_scale_lr = dict(enable=False, base_batch_size=16)

average = dict(
    type='EMAHook',
    ema_type='ExpMomentumEMA',
    momentum=1e-4,
    gamma=2000,
    update_buffers=True,
)
plain_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Resize', scale=(640, 640), keep_ratio=False),
    dict(type='PackDetInputs'),
]
custom_hooks = [
    average,
    dict(type='PipelineSwitchHook', switch_epoch=71, switch_pipeline=plain_pipeline),
]
