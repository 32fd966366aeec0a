# RT-DETRv2 R50, 72 epochs on 8 GPUs x 2 images.
#   tools/dist_train.sh configs/rtdetrv2_r50vd_8xb2-72e_coco.py 8 --amp
# Cost: not stated by the authors, 42.9 M parameters. Result of the authors: 53.4 AP
# (lyuwenyu/RT-DETR, rtdetrv2_pytorch/README.md).
_base_ = [
    '_base_/models/rtdetrv2_r50vd.py',
    '_base_/datasets/coco_detection_640.py',
    '_base_/schedules/schedule_rtdetr.py',
    '_base_/default_runtime.py',
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/lyuwenyu/storage/releases/download/v0.1/'
            'ResNet50_vd_ssld_v2_pretrained_from_paddle.pth',
        )
    )
)
