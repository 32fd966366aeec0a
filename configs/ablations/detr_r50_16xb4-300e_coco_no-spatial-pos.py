# No spatial positions, queries at the input of the decoder (table 3, row 1).
#   tools/dist_train.sh configs/ablations/detr_r50_16xb4-300e_coco_no-spatial-pos.py 16
# Cost: about that of the parent.
# Result of the paper: 32.8 AP, 55.2 AP50.
_base_ = '../detr_r50_16xb4-300e_coco.py'
model = dict(
    bbox_head=dict(transformer=dict(encoder_pos='none', decoder_pos='none', query_pos='input'))
)
