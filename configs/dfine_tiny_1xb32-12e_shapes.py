# The demo with D-FINE: RT-DETRv2's, boxes as distributions over the distances to their sides.
#   python tools/train.py configs/dfine_tiny_1xb32-12e_shapes.py
# Cost: about twice that of detr_tiny_1xb32-12e_shapes.py. Result: not measured.
_base_ = './rtdetrv2_tiny_1xb32-12e_shapes.py'
model = dict(
    neck=dict(type='DFINEHybridEncoder'),
    bbox_head=dict(
        type='DFINEHead',
        denoising=dict(absolute_sizes=True),
        transformer=dict(project_same_width=False, decoder=dict(type='DFINEDecoder')),
        criterion=dict(
            type='DFINECriterion',
            loss_fgl=dict(type='FineGrainedLocalizationLoss', loss_weight=0.15),
            loss_ddf=dict(type='DecoupledDistillationLoss', loss_weight=1.5, temperature=5.0),
        ),
    ),
)
