# COCO 2017 panoptic, 80 things and 53 stuff, with the paper's augmentation. data/coco holds
# train2017, val2017 and annotations/{panoptic_train2017.json,panoptic_val2017.json,
# panoptic_train2017,panoptic_val2017,instances_val2017.json}, the folders from the zip files inside
# of panoptic_annotations_trainval2017.zip.
dataset_type = 'CocoPanopticDataset'
data_root = 'data/coco/'

# (length of the short side, limit of the long side)
train_scales = [(short, 1333) for short in range(480, 801, 32)]

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadPanopticAnnotations', with_mask=True),
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
# 'segments' and 'seg_map_path' bring the panoptic metric its ground truth.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(800, 1333), keep_ratio=True),
    dict(
        type='PackDetInputs',
        meta_keys=(
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
            'segments',
            'seg_map_path',
        ),
    ),
]

# 2 images per GPU; the configs of other batch sizes set batch_size.
train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    batch_sampler=dict(type='SameSizeBatchSampler'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/panoptic_val2017.json',
        data_prefix=dict(img='val2017/', seg='annotations/panoptic_val2017/'),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

# AP of the things on COCO's instances, as the authors report it, and PQ.
val_evaluator = [
    dict(
        type='CocoMetric',
        ann_file=data_root + 'annotations/instances_val2017.json',
        metric=['bbox', 'segm'],
    ),
    dict(type='CocoPanopticMetric'),
]
test_evaluator = val_evaluator
