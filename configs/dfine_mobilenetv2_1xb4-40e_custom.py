# D-FINE for small data and weak machines: the small RT-DETRv2, boxes as distributions.
# One's own data in COCO format; a child sets classes, paths and the size of the images.
#   python tools/train.py configs/my_data.py
# Cost and result: depend on the data. Needs timm, which downloads the backbone's weights.
_base_ = './rtdetrv2_mobilenetv2_1xb4-40e_custom.py'
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
