# DAB-Deformable DETR with a ResNet-50 backbone for the 80 classes of COCO: queries are boxes, their
# positions follow them from layer to layer.
_base_ = './deformable_detr_r50.py'
model = dict(
    bbox_head=dict(
        max_per_img=300,
        query_source=dict(type='AnchorQueries'),
        with_box_refine=True,
        share_branches=False,
        eps=1e-3,
        transformer=dict(
            feedforward_channels=2048,
            dropout=0.0,
            decoder=dict(type='AnchorDeformableDecoder', query_scale=True),
        ),
        criterion=dict(loss_cls=dict(loss_weight=1.0)),
    ),
)
