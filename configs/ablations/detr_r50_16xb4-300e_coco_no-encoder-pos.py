# No spatial positions in the encoder (table 3, row 4).
#   tools/dist_train.sh configs/ablations/detr_r50_16xb4-300e_coco_no-encoder-pos.py 16
# Cost: about that of the parent.
# Result of the paper: 39.3 AP, 60.3 AP50.
_base_ = '../detr_r50_16xb4-300e_coco.py'
model = dict(bbox_head=dict(transformer=dict(encoder_pos='none')))
