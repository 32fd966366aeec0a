# Deformable DETR R50, each decoder layer starts from the boxes of the one before it.
#   tools/dist_train.sh configs/deformable_detr_r50_16xb2-50e_coco_refine.py 16
# Cost: 325 hours of one V100 for the parent (authors). Result of the authors: 46.2 AP
# (github.com/fundamentalvision/Deformable-DETR).
_base_ = './deformable_detr_r50_16xb2-50e_coco.py'
model = dict(bbox_head=dict(with_box_refine=True, share_branches=False))
