# D-FINE for small data and weak machines: the small RT-DETRv2, boxes as distributions.
# One's own data in COCO format; a child sets classes, paths and the size of the images.
#   python tools/train.py configs/my_data.py
# Cost and result: depend on the data. Needs timm, which downloads the backbone's weights.
_base_ = ['./rtdetrv2_mobilenetv2_1xb4-40e_custom.py', '_base_/models/dfine_parts.py']
model = {{_base_.dfine_parts}}
