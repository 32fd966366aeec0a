# RT-DETRv2 R101: a wider encoder.
#   tools/dist_train.sh configs/rtdetrv2_r101vd_8xb2-72e_coco.py 8 --amp
# Cost: not stated by the authors, 76.6 M parameters. Result of the authors: 54.3 AP
# (lyuwenyu/RT-DETR, rtdetrv2_pytorch/README.md).
_base_ = './rtdetrv2_r50vd_8xb2-72e_coco.py'
model = dict(
    backbone=dict(
        depth=101,
        init_cfg=dict(
            checkpoint='https://github.com/lyuwenyu/storage/releases/download/v0.1/'
            'ResNet101_vd_ssld_pretrained_from_paddle.pth'
        ),
    ),
    neck=dict(out_channels=384, feedforward_channels=2048),
    bbox_head=dict(transformer=dict(embed_dims=256)),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.01)}))
