from .assigners import BBoxL1Cost, ClassificationCost, FocalCost, GIoUCost, HungarianAssigner
from .backbones import ResNet
from .data_preprocessor import DetDataPreprocessor
from .detectors import DETR
from .heads import (
    AnchorQueries,
    DeformableDETRHead,
    DETRHead,
    EncoderProposals,
    MixedQueries,
    PointQueries,
    ProposalQueries,
)
from .layers import (
    ContrastiveDenoising,
    FlatPositionalEncoding,
    GroupDenoising,
    LearnedPositionalEncoding,
    SinePositionalEncoding,
)
from .losses import (
    CrossEntropyLoss,
    FocalLoss,
    GIoULoss,
    L1Loss,
    PredictionStatistics,
    QueryCriterion,
    SetCriterion,
)
from .necks import ChannelMapper, InputProjection
from .transformers import (
    AnchorDeformableDecoder,
    DeformableDecoder,
    DeformableEncoder,
    DeformableTransformer,
    DETRTransformer,
    TorchTransformer,
    TransformerDecoder,
    TransformerEncoder,
)

__all__ = [
    'DETR',
    'AnchorDeformableDecoder',
    'AnchorQueries',
    'BBoxL1Cost',
    'ChannelMapper',
    'ClassificationCost',
    'ContrastiveDenoising',
    'CrossEntropyLoss',
    'DETRHead',
    'DETRTransformer',
    'DeformableDETRHead',
    'DeformableDecoder',
    'DeformableEncoder',
    'DeformableTransformer',
    'DetDataPreprocessor',
    'EncoderProposals',
    'FlatPositionalEncoding',
    'FocalCost',
    'FocalLoss',
    'GIoUCost',
    'GIoULoss',
    'GroupDenoising',
    'HungarianAssigner',
    'InputProjection',
    'L1Loss',
    'LearnedPositionalEncoding',
    'MixedQueries',
    'PointQueries',
    'PredictionStatistics',
    'ProposalQueries',
    'QueryCriterion',
    'ResNet',
    'SetCriterion',
    'SinePositionalEncoding',
    'TorchTransformer',
    'TransformerDecoder',
    'TransformerEncoder',
]
