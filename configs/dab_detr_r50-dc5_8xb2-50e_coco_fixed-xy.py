# DAB-DETR-DC5 R50, "fixed x, y": centres spread evenly at the start. The authors' name; their
# centres learn on, as ours do.
#   tools/dist_train.sh configs/dab_detr_r50-dc5_8xb2-50e_coco_fixed-xy.py 8
# Cost: not stated by the authors. Result of the authors: 44.7 AP.
_base_ = './dab_detr_r50-dc5_8xb2-50e_coco.py'
model = dict(bbox_head=dict(random_centres=True))
