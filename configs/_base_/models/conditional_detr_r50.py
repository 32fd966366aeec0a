# Conditional DETR with a ResNet-50 backbone for the 80 classes of COCO: 43.2 M trainable parameters
# (authors, with the frozen ones: 44 M), 85 GMAC at 800 x 1066 (90 G averaged over COCO images).
_base_ = './detr_r50.py'
model = dict(
    bbox_head=dict(
        type='ConditionalHead',
        num_queries=300,
        max_per_img=100,
        class_activation=dict(type='SigmoidClasses'),
        transformer=dict(decoder=dict(type='ConditionalDecoder')),
        criterion=dict(
            assigner=dict(match_costs=dict(cls=dict(_delete_=True, type='FocalCost', weight=2.0))),
            loss_cls=dict(_delete_=True, type='FocalLoss', loss_weight=2.0),
        ),
    ),
)
