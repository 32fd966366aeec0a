# COCO 2017 boxes and masks with the paper's augmentation, in
# data/coco/{annotations,train2017,val2017}.
_base_ = ['./coco_detection.py']

# (length of the short side, limit of the long side)
train_scales = [(short, 1333) for short in range(480, 801, 32)]

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_mask=True),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomChoice',
        transforms=[
            [dict(type='RandomChoiceResize', scales=train_scales, keep_ratio=True)],
            [
                dict(
                    type='RandomChoiceResize',
                    scales=[(400, None), (500, None), (600, None)],
                    keep_ratio=True,
                ),
                dict(type='RandomCrop', min_size=384, max_size=600),
                dict(type='RandomChoiceResize', scales=train_scales, keep_ratio=True),
            ],
        ],
    ),
    dict(type='PackDetInputs'),
]

train_dataloader = dict(dataset=dict(with_mask=True, pipeline=train_pipeline))

val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = val_evaluator
