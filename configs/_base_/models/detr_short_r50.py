# The short DETR with a ResNet-50 backbone for images of 480 x 480 and the 80 classes of COCO.
_base_ = ['./detr_r50.py']

model = dict(
    bbox_head=dict(
        num_reg_layers=1,
        sigmoid_bboxes=True,
        positional_encoding=dict(_delete_=True, type='FlatPositionalEncoding', num_tokens=225),
        transformer=dict(
            _delete_=True,
            type='TorchTransformer',
            num_heads=8,
            num_encoder_layers=6,
            num_decoder_layers=6,
            dropout=0.1,
        ),
        # Only the last layer is supervised.
        criterion=dict(aux_loss=False),
    )
)
