# The demo with DN-DETR: DAB-DETR that also learns to restore noisy boxes.
#   python tools/train.py configs/dn_detr_tiny_1xb32-12e_shapes.py
# Cost: about that of the demo. Result: not measured yet.
_base_ = './dab_detr_tiny_1xb32-12e_shapes.py'
model = dict(
    bbox_head=dict(
        denoising=dict(type='GroupDenoising'),
        criterion=dict(type='QueryCriterion', denoising_background=False),
    ),
)
