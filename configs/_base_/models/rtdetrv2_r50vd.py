# RT-DETRv2 with ResNet-50-vd: hybrid encoder, 6 decoder layers, 300 queries. Images of one size,
# RGB in 0..1, without ImageNet's mean and deviation.
model = dict(
    type='DETR',
    data_preprocessor=dict(
        type='MultiScaleDataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        bgr_to_rgb=True,
        # A size for each batch; 640 counts three times.
        sizes=[480, 512, 544, 576, 608, 640, 640, 640, 672, 704, 736, 768, 800],
    ),
    backbone=dict(type='ResNetVd', depth=50, frozen_stages=0, norm_frozen=True),
    neck=dict(type='HybridEncoder', out_channels=256, feedforward_channels=1024, expansion=1.0),
    bbox_head=dict(
        type='RTDETRHead',
        num_classes=80,
        num_queries=300,
        # 100 positives and as many negatives.
        denoising=dict(
            type='ContrastiveDenoising',
            max_queries=200,
            label_noise=0.25,
            box_noise=1.0,
            eps=1e-5,
            empty_coordinate=0.0,
        ),
        transformer=dict(
            type='RTDETRTransformer',
            num_layers=6,
            feedforward_channels=1024,
            num_points=[4, 4, 4],
            decoder=dict(type='RTDETRDecoder', eval_idx=-1),
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
            loss_cls=dict(type='VarifocalLoss', alpha=0.75, gamma=2.0, loss_weight=1.0),
            loss_bbox=dict(type='L1Loss', loss_weight=5.0),
            loss_giou=dict(type='GIoULoss', loss_weight=2.0),
        ),
    ),
)
