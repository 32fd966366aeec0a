from .anchor_head import AnchorHead
from .conditional_head import ConditionalHead
from .deformable_detr_head import DeformableDETRHead
from .detr_head import DETRHead
from .dfine_head import DFINEHead
from .encoder_proposals import EncoderProposals, Proposals
from .postprocess import postprocess
from .query_sources import AnchorQueries, MixedQueries, PointQueries, ProposalQueries
from .rtdetr_head import RTDETRHead

__all__ = [
    'AnchorHead',
    'AnchorQueries',
    'ConditionalHead',
    'DETRHead',
    'DFINEHead',
    'DeformableDETRHead',
    'EncoderProposals',
    'MixedQueries',
    'PointQueries',
    'ProposalQueries',
    'Proposals',
    'RTDETRHead',
    'postprocess',
]
