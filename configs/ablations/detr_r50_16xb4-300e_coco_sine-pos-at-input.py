# Sine positions and queries at the inputs (table 3, row 2).
#   tools/dist_train.sh configs/ablations/detr_r50_16xb4-300e_coco_sine-pos-at-input.py 16
# Cost: about that of the parent.
# Result of the paper: 39.2 AP, 60.0 AP50.
_base_ = '../detr_r50_16xb4-300e_coco.py'
model = dict(
    bbox_head=dict(transformer=dict(encoder_pos='input', decoder_pos='input', query_pos='input'))
)
