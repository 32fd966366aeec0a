# DETR with a ResNet-50 backbone and the paper's mask head for the 133 classes of COCO panoptic, in
# the order of their category ids: 80 things, then 53 stuff. (The published files have a row per
# category id instead; they go by name to these.)
_base_ = ['./detr_r50_masks.py']

model = dict(
    bbox_head=dict(
        num_classes=133,
        panoptic=dict(type='PanopticSegmentation', things=80, score_thr=0.85),
    )
)
