# Learned spatial positions at attention (table 3, row 3).
#   tools/dist_train.sh configs/ablations/detr_r50_16xb4-300e_coco_learned-pos.py 16
# Cost: about that of the parent.
# Result of the paper: 39.6 AP, 60.7 AP50.
_base_ = '../detr_r50_16xb4-300e_coco.py'
model = dict(
    bbox_head=dict(positional_encoding=dict(_delete_=True, type='LearnedPositionalEncoding'))
)
