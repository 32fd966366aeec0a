# The mask head on a trained box model: 25 epochs, learning rate / 10 after 15, else as the box
# model (AdamW, 1e-4, weight decay 1e-4, gradient norm clipped at 0.1) with a total batch of 16.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=25, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4, fused=True),
    clip_grad=dict(max_norm=0.1, norm_type=2),
)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=25, by_epoch=True, milestones=[15], gamma=0.1)
]

auto_scale_lr = dict(enable=False, base_batch_size=16)
