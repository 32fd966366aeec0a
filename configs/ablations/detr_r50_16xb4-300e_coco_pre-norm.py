# Normalisation before the sub-layers instead of after.
#   tools/dist_train.sh configs/ablations/detr_r50_16xb4-300e_coco_pre-norm.py 16
# Cost: about that of the parent.
# Result of the paper: none stated.
_base_ = '../detr_r50_16xb4-300e_coco.py'
model = dict(bbox_head=dict(transformer=dict(norm_first=True)))
