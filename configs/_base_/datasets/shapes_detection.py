# Generated circles, rectangles and triangles: 64x64 pixels, 1 to 3 objects, nothing to download.
dataset_type = 'ShapesDataset'

# The images come drawn, so there is no loading step.
train_pipeline = [
    dict(type='LoadAnnotations'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
# There is no annotation file: 'instances' brings the metric its ground truth.
test_pipeline = [
    dict(type='PackDetInputs', meta_keys=('img_id', 'ori_shape', 'img_shape', 'instances')),
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

val_evaluator = dict(type='CocoMetric')
test_evaluator = val_evaluator
