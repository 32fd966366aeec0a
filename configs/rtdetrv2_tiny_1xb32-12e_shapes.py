# The demo with RT-DETRv2: two feature maps, a hybrid encoder, varifocal loss, denoising queries.
#   python tools/train.py configs/rtdetrv2_tiny_1xb32-12e_shapes.py
# Cost: about twice that of detr_tiny_1xb32-12e_shapes.py. Result: not measured.
_base_ = './detr_tiny_1xb32-12e_shapes.py'
model = dict(
    backbone=dict(out_indices=(1, 2)),
    neck=dict(
        _delete_=True,
        type='HybridEncoder',
        out_channels=128,
        feedforward_channels=256,
        num_blocks=1,
        expansion=0.5,
    ),
    bbox_head=dict(
        _delete_=True,
        type='RTDETRHead',
        num_classes=3,
        num_queries=10,
        denoising=dict(type='ContrastiveDenoising', max_queries=40, eps=1e-5, empty_coordinate=0.0),
        transformer=dict(
            type='RTDETRTransformer',
            embed_dims=128,
            num_layers=3,
            feedforward_channels=256,
            num_points=[4, 4],
            decoder=dict(type='RTDETRDecoder'),
        ),
        criterion=dict(
            type='QueryCriterion',
            assigner=dict(
                type='HungarianAssigner',
                match_costs=dict(
                    cls=dict(type='FocalCost', weight=2.0),
                    bbox=dict(type='BBoxL1Cost', weight=5.0),
                    giou=dict(type='GIoUCost', weight=2.0),
                ),
            ),
            loss_cls=dict(type='VarifocalLoss', alpha=0.75, gamma=2.0),
            loss_bbox=dict(type='L1Loss', loss_weight=5.0),
            loss_giou=dict(type='GIoULoss', loss_weight=2.0),
        ),
    ),
)
