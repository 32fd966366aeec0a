# D-FINE-L, 80 epochs on 8 GPUs x 4 images.
#   tools/dist_train.sh configs/dfine_l_8xb4-80e_coco.py 8 --amp
# Cost: not stated by the authors, 31.2 M parameters. Result of the authors: 54.0 AP
# (Peterande/D-FINE, README.md).
_base_ = [
    '_base_/models/dfine_l.py',
    '_base_/datasets/coco_detection_640.py',
    '_base_/schedules/schedule_rtdetr.py',
    '_base_/default_runtime.py',
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/Peterande/storage/releases/download/dfinev1.0/PPHGNetV2_B4_stage1.pth',
        )
    )
)
train_dataloader = dict(batch_size=4)
train_cfg = dict(max_epochs=80)
optim_wrapper = dict(
    optimizer=dict(lr=2.5e-4, weight_decay=1.25e-4),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.05)}),
)
param_scheduler = [dict(type='LinearLR', start_factor=2e-3, by_epoch=False, begin=0, end=500)]
auto_scale_lr = dict(base_batch_size=32)
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
        switch_epoch=72,
        switch_pipeline={{_base_.plain_pipeline}},
    ),
    dict(type='BestStateHook', switch_epoch=72),
]
