# From DETR to DINO, step 7: a layer's box is corrected by the loss of the next one, too (look
# forward twice).
#   tools/dist_train.sh configs/ablations/detr_r50_8xb2-50e_coco_7-refinement.py 8
# Cost: about that of the parent. Result: none published for this step alone.
_base_ = './detr_r50_8xb2-50e_coco_6-multi-scale.py'
model = dict(bbox_head=dict(transformer=dict(decoder=dict(norm=True, look_forward_twice=True))))
