# D-FINE-L: HGNetV2-B4, 6 decoder layers, boxes as distributions.
_base_ = ['./rtdetrv2_r50vd.py']
model = dict(
    data_preprocessor=dict(
        sizes=[480, 512, 544, 576, 608, *[640] * 4, 672, 704, 736, 768, 800],
    ),
    backbone=dict(
        _delete_=True, type='HGNetV2', size='B4', affine=False, frozen_stages=0, norm_frozen=True
    ),
    neck=dict(type='DFINEHybridEncoder', num_blocks=3),
    bbox_head=dict(
        type='DFINEHead',
        denoising=dict(absolute_sizes=True),
        transformer=dict(
            num_points=[3, 6, 3], project_same_width=False, decoder=dict(type='DFINEDecoder')
        ),
        criterion=dict(
            type='DFINECriterion',
            loss_fgl=dict(type='FineGrainedLocalizationLoss', loss_weight=0.15),
            loss_ddf=dict(type='DecoupledDistillationLoss', loss_weight=1.5, temperature=5.0),
        ),
    ),
)
