# Deformable DETR with a ResNet-50 backbone for the 80 classes of COCO: 39.8 M trainable parameters
# (with the 91 rows and the frozen layers of the authors' code: 40.07 M).
_base_ = './detr_r50.py'
model = dict(
    backbone=dict(out_indices=(1, 2, 3)),
    neck=dict(_delete_=True, type='ChannelMapper', out_channels=256, num_outs=4),
    bbox_head=dict(
        type='DeformableDETRHead',
        num_queries=300,
        max_per_img=100,
        query_source=dict(type='PointQueries'),
        with_box_refine=False,
        share_branches=True,
        positional_encoding=dict(offset=-0.5),
        transformer=dict(
            _delete_=True,
            type='DeformableTransformer',
            num_heads=8,
            num_encoder_layers=6,
            num_decoder_layers=6,
            feedforward_channels=1024,
            dropout=0.1,
            num_levels=4,
            encoder=dict(type='DeformableEncoder', num_points=4),
            decoder=dict(type='DeformableDecoder', num_points=4),
        ),
        criterion=dict(
            type='QueryCriterion',
            assigner=dict(
                match_costs=dict(cls=dict(_delete_=True, type='FocalCost', weight=2.0)),
            ),
            loss_cls=dict(_delete_=True, type='FocalLoss', loss_weight=2.0),
        ),
    ),
)
