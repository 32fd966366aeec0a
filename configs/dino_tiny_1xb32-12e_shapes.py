# The demo with DINO: the encoder proposes boxes, and denoising queries in training.
#   python tools/train.py configs/dino_tiny_1xb32-12e_shapes.py
# Cost: about twice that of detr_tiny_1xb32-12e_shapes.py. Result: not measured.
_base_ = './deformable_detr_tiny_1xb32-12e_shapes.py'
model = dict(
    bbox_head=dict(
        query_source=dict(type='MixedQueries'),
        proposals=dict(type='EncoderProposals'),
        share_branches=True,
        eps=1e-3,
        denoising=dict(type='ContrastiveDenoising', max_queries=40),
        transformer=dict(
            decoder=dict(type='AnchorDeformableDecoder', norm=True, look_forward_twice=True)
        ),
        criterion=dict(loss_cls=dict(loss_weight=1.0)),
    ),
)
