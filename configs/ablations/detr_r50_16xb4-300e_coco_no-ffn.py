# No feed-forward parts in the transformer.
#   tools/dist_train.sh configs/ablations/detr_r50_16xb4-300e_coco_no-ffn.py 16
# Cost: about that of the parent.
# Result of the paper: 38.3 AP, 28.7 M parameters (section 4.2: 2.3 AP below 40.6).
_base_ = '../detr_r50_16xb4-300e_coco.py'
model = dict(bbox_head=dict(transformer=dict(feedforward_channels=0)))
