# D-FINE-X: HGNetV2-B5 and a wider encoder.
#   tools/dist_train.sh configs/dfine_x_8xb4-80e_coco.py 8 --amp
# Cost: not stated by the authors, 62.6 M parameters. Result of the authors: 55.8 AP
# (Peterande/D-FINE, README.md).
_base_ = './dfine_l_8xb4-80e_coco.py'
model = dict(
    data_preprocessor=dict(sizes=[480, 512, 544, 576, 608, *[640] * 3, 672, 704, 736, 768, 800]),
    backbone=dict(
        size='B5',
        init_cfg=dict(
            checkpoint='https://github.com/Peterande/storage/releases/download/dfinev1.0/PPHGNetV2_B5_stage1.pth'
        ),
    ),
    neck=dict(out_channels=384, feedforward_channels=2048),
    bbox_head=dict(reg_scale=8.0, transformer=dict(embed_dims=256)),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.01)}))
