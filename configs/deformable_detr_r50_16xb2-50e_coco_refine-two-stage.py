# Deformable DETR R50, the encoder proposes boxes that the decoder refines.
#   tools/dist_train.sh configs/deformable_detr_r50_16xb2-50e_coco_refine-two-stage.py 16
# Cost: 340 hours of one V100 (authors). Result of the authors: 46.9 AP
# (github.com/fundamentalvision/Deformable-DETR).
_base_ = './deformable_detr_r50_16xb2-50e_coco_refine.py'
model = dict(
    bbox_head=dict(
        query_source=dict(type='ProposalQueries'),
        proposals=dict(type='EncoderProposals', class_agnostic=True),
        criterion=dict(class_agnostic_proposals=True),
    )
)
