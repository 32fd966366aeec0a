# DINO R50 with 5 feature maps, 12 epochs on 8 GPUs x 2 images.
#   tools/dist_train.sh configs/dino_5scale_r50_8xb2-12e_coco.py 8
# Cost: not stated by the authors. Result of the authors: 49.4 AP
# (github.com/IDEA-Research/DINO).
_base_ = './dino_4scale_r50_8xb2-12e_coco.py'
model = dict(
    backbone=dict(out_indices=(0, 1, 2, 3)),
    neck=dict(num_outs=5),
    bbox_head=dict(transformer=dict(num_levels=5)),
)
