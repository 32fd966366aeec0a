# DAB-DETR-DC5 R50 with 3 patterns.
#   tools/dist_train.sh configs/dab_detr_r50-dc5_8xb2-50e_coco_3-patterns.py 8
# Cost: not stated by the authors. Result of the authors: 45.7 AP.
_base_ = './dab_detr_r50-dc5_8xb2-50e_coco.py'
model = dict(bbox_head=dict(num_patterns=3))
