# D-FINE-M: HGNetV2-B2, everything trains.
#   tools/dist_train.sh configs/dfine_m_8xb4-132e_coco.py 8 --amp
# Cost: not stated by the authors, 19.6 M parameters. Result of the authors: 52.3 AP
# (Peterande/D-FINE, README.md).
_base_ = './dfine_s_8xb4-132e_coco.py'
model = dict(
    data_preprocessor=dict(sizes=[480, 512, 544, 576, 608, *[640] * 6, 672, 704, 736, 768, 800]),
    backbone=dict(
        size='B2',
        init_cfg=dict(
            checkpoint='https://github.com/Peterande/storage/releases/download/dfinev1.0/PPHGNetV2_B2_stage1.pth'
        ),
    ),
    neck=dict(expansion=1.0, num_blocks=2),
    bbox_head=dict(transformer=dict(num_layers=4)),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}))
