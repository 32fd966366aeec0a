# What makes a D-FINE of RT-DETRv2: children of one take it as their model.
dfine_parts = dict(
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
