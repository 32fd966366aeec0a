# D-FINE-N: two maps of 128 channels, HGNetV2-B0, one batch size.
#   tools/dist_train.sh configs/dfine_n_8xb16-160e_coco.py 8 --amp
# Cost: not stated by the authors, 3.8 M parameters. Result of the authors: 42.8 AP
# (Peterande/D-FINE, README.md).
_base_ = './dfine_s_8xb4-132e_coco.py'
model = dict(
    data_preprocessor=dict(sizes=[]),
    backbone=dict(out_indices=[2, 3]),
    neck=dict(out_channels=128, feedforward_channels=512, expansion=0.34, num_blocks=2),
    bbox_head=dict(transformer=dict(feedforward_channels=512, num_points=[6, 6])),
)
train_dataloader = dict(batch_size=16)
train_cfg = dict(max_epochs=160)
auto_scale_lr = dict(base_batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=8e-4))
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
        switch_epoch=148,
        switch_pipeline={{_base_.plain_pipeline}},
    ),
    dict(type='BestStateHook', switch_epoch=148),
]
