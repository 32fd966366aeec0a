# 300 epochs, learning rate / 10 after 200. AdamW as in the paper (appendix A.4): 1e-4, backbone
# 1e-5, weight decay 1e-4 on every parameter, gradient norm clipped at 0.1, no warm-up.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=300, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4, fused=True),
    clip_grad=dict(max_norm=0.1, norm_type=2),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}),
)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=300, by_epoch=True, milestones=[200], gamma=0.1)
]

# The rate belongs to a total batch of 64; `--auto-scale-lr` scales it linearly with the batch.
auto_scale_lr = dict(enable=False, base_batch_size=64)
