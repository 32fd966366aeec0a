# The demo with DAB-DETR: anchors that each decoder layer moves.
#   python tools/train.py configs/dab_detr_tiny_1xb32-12e_shapes.py
# Cost: about that of the demo. Result: not measured yet.
_base_ = './conditional_detr_tiny_1xb32-12e_shapes.py'
model = dict(
    bbox_head=dict(
        type='AnchorHead',
        transformer=dict(
            encoder=dict(type='ScaledPositionEncoder', activation='prelu'),
            decoder=dict(type='AnchorDecoder', activation='prelu'),
        ),
        criterion=dict(loss_cls=dict(loss_weight=1.0)),
    ),
)
