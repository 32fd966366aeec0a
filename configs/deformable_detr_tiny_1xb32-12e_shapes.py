# The demo with Deformable DETR: three feature maps, boxes refined layer by layer.
#   python tools/train.py configs/deformable_detr_tiny_1xb32-12e_shapes.py
# Cost: about twice that of detr_tiny_1xb32-12e_shapes.py. Result: not measured.
_base_ = './detr_tiny_1xb32-12e_shapes.py'
model = dict(
    backbone=dict(out_indices=(1, 2)),
    neck=dict(_delete_=True, type='ChannelMapper', out_channels=128, num_outs=3),
    bbox_head=dict(
        type='DeformableDETRHead',
        max_per_img=30,
        query_source=dict(type='PointQueries'),
        with_box_refine=True,
        share_branches=False,
        positional_encoding=dict(offset=-0.5),
        transformer=dict(
            _delete_=True,
            type='DeformableTransformer',
            num_encoder_layers=1,
            num_decoder_layers=3,
            feedforward_channels=256,
            dropout=0.0,
            num_levels=3,
            decoder=dict(type='DeformableDecoder'),
        ),
        criterion=dict(
            type='QueryCriterion',
            assigner=dict(match_costs=dict(cls=dict(_delete_=True, type='FocalCost'))),
            loss_cls=dict(_delete_=True, type='FocalLoss', loss_weight=2.0),
        ),
    ),
)
