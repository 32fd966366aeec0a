# The demo with Conditional DETR: the tiny model of detr_tiny_1xb32-12e_shapes.py, its successor's
# decoder and losses.
#   python tools/train.py configs/conditional_detr_tiny_1xb32-12e_shapes.py
# Cost: about that of the demo. Result: not measured yet.
_base_ = './detr_tiny_1xb32-12e_shapes.py'
model = dict(
    bbox_head=dict(
        type='ConditionalHead',
        class_activation=dict(type='SigmoidClasses'),
        transformer=dict(
            norm_first=False,
            decoder=dict(type='ConditionalDecoder'),
        ),
        criterion=dict(
            assigner=dict(match_costs=dict(cls=dict(_delete_=True, type='FocalCost', weight=2.0))),
            loss_cls=dict(_delete_=True, type='FocalLoss', loss_weight=2.0),
        ),
    ),
)
