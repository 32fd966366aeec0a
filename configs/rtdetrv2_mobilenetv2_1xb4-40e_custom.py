# RT-DETRv2 for small data and weak machines: MobileNetV2, 128 channels, 100 queries.
# One's own data in COCO format; a child sets classes, paths and the size of the images.
#   python tools/train.py configs/my_data.py
# Cost and result: depend on the data. Needs timm, which downloads the backbone's weights.
_base_ = [
    '_base_/models/rtdetrv2_r50vd.py',
    '_base_/datasets/custom_coco_detection_320.py',
    '_base_/schedules/schedule_small_data.py',
    '_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(sizes=[], mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='mobilenetv2_100',
        out_indices=[2, 3, 4],
        pretrained=True,
        frozen_stages=1,
    ),
    neck=dict(out_channels=128, feedforward_channels=512, expansion=0.5),
    bbox_head=dict(
        num_queries=100,
        max_per_img=100,
        # Bounded in all: crowded images would have more groups than a step can pay for.
        denoising=dict(max_queries=100),
        transformer=dict(num_layers=3, feedforward_channels=512),
    ),
)
