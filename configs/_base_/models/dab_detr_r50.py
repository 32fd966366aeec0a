# DAB-DETR with a ResNet-50 backbone for the 80 classes of COCO: 43.4 M trainable parameters
# (authors, with the frozen ones: 44 M), 86 GMAC at 800 x 1066 (94 G averaged over COCO images).
_base_ = './conditional_detr_r50.py'
model = dict(
    bbox_head=dict(
        type='AnchorHead',
        num_patterns=0,
        random_centres=False,
        max_per_img=300,
        positional_encoding=dict(temperature=20),
        transformer=dict(
            dropout=0.0,
            encoder=dict(type='ScaledPositionEncoder', activation='prelu'),
            decoder=dict(type='AnchorDecoder', activation='prelu'),
        ),
        criterion=dict(loss_cls=dict(loss_weight=1.0)),
    ),
)
