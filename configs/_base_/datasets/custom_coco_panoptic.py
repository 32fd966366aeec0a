# One's own panoptic data in COCO format (JSON and PNGs), with the paper's augmentation. As it
# stands it expects data/custom/{train.json,val.json,images,train_maps,val_maps}. A child sets what
# differs:
#   train_dataloader = dict(
#       dataset=dict(data_root=..., ann_file=..., data_prefix=dict(img=..., seg=...)))
#   val_dataloader = ...
#   test_dataloader = val_dataloader
# Classes, and which of them are things, come from the annotation file; the child's model needs
# num_classes to match.
_base_ = ['./coco_panoptic.py']

# 'instances' bring the boxes of the things to score, 'segments' and 'seg_map_path' the segments.
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
            'instances',
            'segments',
            'seg_map_path',
        ),
    ),
]

train_dataloader = dict(
    dataset=dict(
        data_root='data/custom/',
        ann_file='train.json',
        data_prefix=dict(img='images/', seg='train_maps/'),
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root='data/custom/',
        ann_file='val.json',
        data_prefix=dict(img='images/', seg='val_maps/'),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader

val_evaluator = [dict(type='CocoMetric'), dict(type='CocoPanopticMetric')]
test_evaluator = val_evaluator
