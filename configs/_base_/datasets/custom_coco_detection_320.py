# One's own data in COCO format, stretched to 416 x 320 pixels (width x height), with augmentation
# for a few hundred images: mirrored both ways, cut or zoomed out, other light and colours.
_base_ = ['./custom_coco_detection.py']
image_size = (416, 320)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomPhotometricDistort', prob=0.5),
    dict(
        type='RandomChoice',
        transforms=[
            [dict(type='RandomIoUCrop', min_scale=0.5)],
            [dict(type='RandomZoomOut', prob=1.0, side_range=[1.0, 1.6])],
            [],
        ],
        prob=[0.35, 0.35, 0.3],
    ),
    dict(
        type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']
    ),
    dict(type='Resize', scale=image_size, keep_ratio=False),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_size, keep_ratio=False),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'instances'),
    ),
]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=4, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
