# The demo with D-FINE: RT-DETRv2's, boxes as distributions over the distances to their sides.
#   python tools/train.py configs/dfine_tiny_1xb32-12e_shapes.py
# Cost: about twice that of detr_tiny_1xb32-12e_shapes.py. Result: not measured.
_base_ = ['./rtdetrv2_tiny_1xb32-12e_shapes.py', '_base_/models/dfine_parts.py']
model = {{_base_.dfine_parts}}
