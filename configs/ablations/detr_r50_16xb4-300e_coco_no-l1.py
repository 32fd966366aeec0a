# Classification and GIoU losses and costs, no L1 (table 4).
#   tools/dist_train.sh configs/ablations/detr_r50_16xb4-300e_coco_no-l1.py 16
# Cost: about that of the parent.
# Result of the paper: 39.9 AP, 61.6 AP50.
_base_ = '../detr_r50_16xb4-300e_coco.py'
model = dict(
    bbox_head=dict(criterion=dict(loss_bbox=None, assigner=dict(match_costs=dict(bbox=None))))
)
