from .anchor_head import AnchorHead
from .conditional_head import ConditionalHead
from .deformable_detr_head import DeformableDETRHead
from .detr_head import DETRHead
from .detr_mask_head import DETRMaskHead
from .dfine_head import DFINEHead
from .encoder_proposals import EncoderProposals, Proposals
from .mask_head import MaskHead
from .mask_postprocess import PanopticSegmentation
from .postprocess import postprocess
from .query_sources import AnchorQueries, MixedQueries, PointQueries, ProposalQueries
from .rtdetr_head import RTDETRHead
from .successor_mask_heads import AnchorMaskHead, ConditionalMaskHead

__all__ = [
    'AnchorHead',
    'AnchorMaskHead',
    'AnchorQueries',
    'ConditionalHead',
    'ConditionalMaskHead',
    'DETRHead',
    'DETRMaskHead',
    'DFINEHead',
    'DeformableDETRHead',
    'EncoderProposals',
    'MaskHead',
    'MixedQueries',
    'PanopticSegmentation',
    'PointQueries',
    'ProposalQueries',
    'Proposals',
    'RTDETRHead',
    'postprocess',
]
