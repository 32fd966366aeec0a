# COCO 2017 panoptic as boxes alone: 80 things and 53 stuff, for the box model under a mask head.
# The files are those of coco_panoptic.py.
_base_ = ['./coco_panoptic.py']

# (length of the short side, limit of the long side)
train_scales = [(short, 1333) for short in range(480, 801, 32)]

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadPanopticAnnotations'),
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
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# AP of the things alone.
val_evaluator = dict(
    _delete_=True, type='CocoMetric', ann_file='data/coco/annotations/instances_val2017.json'
)
test_evaluator = val_evaluator
