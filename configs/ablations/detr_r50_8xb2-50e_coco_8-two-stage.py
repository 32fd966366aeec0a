# From DETR to DINO, step 8: the encoder proposes the anchors; contents stay learned.
#   tools/dist_train.sh configs/ablations/detr_r50_8xb2-50e_coco_8-two-stage.py 8
# Cost: about that of the parent. Result: none published for this step alone.
_base_ = './detr_r50_8xb2-50e_coco_7-refinement.py'
model = dict(
    bbox_head=dict(
        query_source=dict(_delete_=True, type='MixedQueries'),
        proposals=dict(type='EncoderProposals', class_agnostic=False),
    )
)
