# DETR with a ResNet-50 backbone for the 80 classes of COCO: 41.3 M trainable parameters, 81 GMAC at
# 800 x 1066 (paper: 41.3 M, 86 G averaged over COCO images).
model = dict(
    type='DETR',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='ResNet',
        depth=50,
        dilation=False,
        frozen_stages=1,
        norm_frozen=True,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    neck=dict(type='InputProjection', out_channels=256),
    bbox_head=dict(
        type='DETRHead',
        num_classes=80,
        num_queries=100,
        positional_encoding=dict(type='SinePositionalEncoding', normalize=True),
        transformer=dict(
            type='DETRTransformer',
            num_heads=8,
            num_encoder_layers=6,
            num_decoder_layers=6,
            feedforward_channels=2048,
            dropout=0.1,
            norm_first=False,
            encoder_pos='attention',
            decoder_pos='attention',
            query_pos='attention',
        ),
        criterion=dict(
            type='SetCriterion',
            aux_loss=True,
            assigner=dict(
                type='HungarianAssigner',
                match_costs=dict(
                    cls=dict(type='ClassificationCost', weight=1.0),
                    bbox=dict(type='BBoxL1Cost', weight=5.0),
                    giou=dict(type='GIoUCost', weight=2.0),
                ),
            ),
            loss_cls=dict(type='CrossEntropyLoss', no_object_weight=0.1, loss_weight=1.0),
            loss_bbox=dict(type='L1Loss', loss_weight=5.0),
            loss_giou=dict(type='GIoULoss', loss_weight=2.0),
        ),
    ),
)
