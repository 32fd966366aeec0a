# 30 epochs from published weights, learning rate / 10 after 20. The authors' rates with a total
# batch of 16.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4, fused=True),
    clip_grad=dict(max_norm=0.1, norm_type=2),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}),
)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=30, by_epoch=True, milestones=[20], gamma=0.1)
]

auto_scale_lr = dict(enable=False, base_batch_size=16)
