from .anchor_head import AnchorHead
from .conditional_head import ConditionalHead
from .deformable_detr_head import DeformableDETRHead
from .detr_head import DETRHead
from .encoder_proposals import EncoderProposals, Proposals
from .postprocess import postprocess
from .query_sources import AnchorQueries, MixedQueries, PointQueries, ProposalQueries

__all__ = [
    'AnchorHead',
    'AnchorQueries',
    'ConditionalHead',
    'DETRHead',
    'DeformableDETRHead',
    'EncoderProposals',
    'MixedQueries',
    'PointQueries',
    'ProposalQueries',
    'Proposals',
    'postprocess',
]
