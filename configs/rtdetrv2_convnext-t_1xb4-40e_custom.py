# RT-DETRv2 for small data with a stronger backbone: ConvNeXt-Tiny of timm in place of MobileNetV2.
# One's own data in COCO format; a child sets classes, paths and the size of the images.
#   python tools/train.py configs/my_data.py
# Cost and result: depend on the data; not trained here. Needs timm, which downloads the weights.
_base_ = './rtdetrv2_mobilenetv2_1xb4-40e_custom.py'
model = dict(
    backbone=dict(
        model_name='convnext_tiny', out_indices=[1, 2, 3], frozen_stages=0, norm_frozen=False
    )
)
