# From DETR to DINO, step 7: each layer looks around the boxes of the layer before it.
#   tools/dist_train.sh configs/ablations/detr_r50_8xb2-50e_coco_7-refinement.py 8
# Cost: about that of the parent. Result: none published for this step alone.
_base_ = './detr_r50_8xb2-50e_coco_6-multi-scale.py'
model = dict(bbox_head=dict(with_box_refine=True))
