# RT-DETRv2 R50-m: a narrower encoder, trained with 6 decoder layers and used with 3.
#   tools/dist_train.sh configs/rtdetrv2_r50vd-m_8xb2-84e_coco.py 8 --amp
# Cost: not stated by the authors, 36.6 M parameters. Result of the authors: 51.9 AP
# (lyuwenyu/RT-DETR, rtdetrv2_pytorch/README.md).
_base_ = './rtdetrv2_r50vd_8xb2-72e_coco.py'
model = dict(neck=dict(expansion=0.5), bbox_head=dict(transformer=dict(decoder=dict(eval_idx=2))))
train_cfg = dict(max_epochs=84)
custom_hooks = [
    {{_base_.average}},
    dict(
        type='PipelineSwitchHook',
        switch_epoch=81,
        switch_pipeline={{_base_.plain_pipeline}},
    ),
]
