# Generated things (circles, rectangles, triangles) in front of stuff (ground, sky): 64x64 pixels, 1
# to 3 things, masks of everything, nothing to download.
dataset_type = 'PanopticShapesDataset'

# The images come drawn, so there is no loading step.
train_pipeline = [
    dict(type='LoadAnnotations', with_mask=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
# 'instances' bring the box and mask metric its ground truth, the others the panoptic metric.
test_pipeline = [
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'ori_shape', 'img_shape', 'instances', 'segments', 'segment_ids'),
    ),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type=dataset_type, num_images=2000, seed=0, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    batch_sampler=dict(type='SameSizeBatchSampler'),
    dataset=dict(type=dataset_type, num_images=200, seed=1, pipeline=test_pipeline, test_mode=True),
)
test_dataloader = val_dataloader

# AP of the things; PQ of everything.
val_evaluator = [
    dict(type='CocoMetric', metric=['bbox', 'segm']),
    dict(type='CocoPanopticMetric'),
]
test_evaluator = val_evaluator
