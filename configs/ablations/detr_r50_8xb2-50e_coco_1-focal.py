# From DETR to DINO, step 1: classes by sigmoids, with the focal loss and cost.
#   tools/dist_train.sh configs/ablations/detr_r50_8xb2-50e_coco_1-focal.py 8
# Cost: about that of the parent. Result: none published for this step alone.
_base_ = '../detr_r50_8xb2-50e_coco.py'
model = dict(
    bbox_head=dict(
        class_activation=dict(type='SigmoidClasses'),
        criterion=dict(
            assigner=dict(match_costs=dict(cls=dict(_delete_=True, type='FocalCost', weight=2.0))),
            loss_cls=dict(_delete_=True, type='FocalLoss', loss_weight=2.0),
        ),
    ),
)
