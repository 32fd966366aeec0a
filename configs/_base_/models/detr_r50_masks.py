# DETR with a ResNet-50 backbone and the paper's mask head (section 4.4) for the 80 things of COCO.
_base_ = ['./detr_r50.py']

model = dict(
    # The mask head reads every stage, the neck the last.
    backbone=dict(out_indices=(0, 1, 2, 3)),
    bbox_head=dict(
        type='DETRMaskHead',
        mask_head=dict(type='MaskHead', num_heads=8),
        criterion=dict(
            type='MaskCriterion',
            loss_mask=dict(type='SigmoidFocalLoss', alpha=0.25, gamma=2.0, loss_weight=1.0),
            loss_dice=dict(type='DiceLoss', loss_weight=1.0),
        ),
    ),
)
