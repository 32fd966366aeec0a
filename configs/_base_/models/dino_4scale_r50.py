# DINO with a ResNet-50 backbone and four feature maps for the 80 classes of COCO: boxes that the
# encoder proposes, refined twice, and contrastive denoising in training.
_base_ = './dab_deformable_detr_r50.py'
model = dict(
    bbox_head=dict(
        num_queries=900,
        query_source=dict(type='MixedQueries'),
        proposals=dict(type='EncoderProposals', class_agnostic=False),
        share_branches=True,
        denoising=dict(
            type='ContrastiveDenoising', max_queries=200, label_noise=0.25, box_noise=1.0
        ),
        positional_encoding=dict(temperature=20, offset=0.0),
        transformer=dict(
            decoder=dict(query_scale=False, norm=True, look_forward_twice=True),
        ),
    ),
)
