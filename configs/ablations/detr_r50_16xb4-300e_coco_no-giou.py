# Classification and L1 losses and costs, no GIoU (table 4).
#   tools/dist_train.sh configs/ablations/detr_r50_16xb4-300e_coco_no-giou.py 16
# Cost: about that of the parent.
# Result of the paper: 35.8 AP, 57.3 AP50.
_base_ = '../detr_r50_16xb4-300e_coco.py'
model = dict(
    bbox_head=dict(criterion=dict(loss_giou=None, assigner=dict(match_costs=dict(giou=None))))
)
