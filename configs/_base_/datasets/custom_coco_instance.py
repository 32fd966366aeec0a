# One's own boxes and masks (polygons or RLE) in COCO format, with the paper's augmentation. As it
# stands it expects data/custom/{train.json,val.json,images}. A child sets what differs:
#   train_dataloader = dict(dataset=dict(data_root=..., ann_file=..., data_prefix=dict(img=...)))
#   val_dataloader = dict(dataset=dict(data_root=..., ann_file=..., data_prefix=dict(img=...)))
#   test_dataloader = val_dataloader
# Classes come from the annotation file; the child's model needs num_classes to match.
_base_ = ['./coco_instance.py']

# The metric takes the ground truth from the dataset, so the files are named once.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(800, 1333), keep_ratio=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
    ),
]

train_dataloader = dict(
    dataset=dict(data_root='data/custom/', ann_file='train.json', data_prefix=dict(img='images/'))
)
val_dataloader = dict(
    dataset=dict(
        data_root='data/custom/',
        ann_file='val.json',
        data_prefix=dict(img='images/'),
        with_mask=True,
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader

val_evaluator = dict(_delete_=True, type='CocoMetric', metric=['bbox', 'segm'])
test_evaluator = val_evaluator
