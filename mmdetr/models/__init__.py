from .assigners import BBoxL1Cost, ClassificationCost, FocalCost, GIoUCost, HungarianAssigner
from .backbones import ResNet
from .data_preprocessor import DetDataPreprocessor
from .detectors import DETR
from .heads import AnchorHead, ConditionalHead, DETRHead
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
from .necks import InputProjection
from .transformers import (
    AnchorDecoder,
    ConditionalDecoder,
    DETRTransformer,
    ScaledPositionEncoder,
    TorchTransformer,
    TransformerDecoder,
    TransformerEncoder,
)

__all__ = [
    'DETR',
    'AnchorDecoder',
    'AnchorHead',
    'BBoxL1Cost',
    'ClassificationCost',
    'ConditionalDecoder',
    'ConditionalHead',
    'ContrastiveDenoising',
    'CrossEntropyLoss',
    'DETRHead',
    'DETRTransformer',
    'DetDataPreprocessor',
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
    'PredictionStatistics',
    'QueryCriterion',
    'ResNet',
    'ScaledPositionEncoder',
    'SetCriterion',
    'SinePositionalEncoding',
    'TorchTransformer',
    'TransformerDecoder',
    'TransformerEncoder',
]
