from .assigners import BBoxL1Cost, ClassificationCost, FocalCost, GIoUCost, HungarianAssigner
from .backbones import ResNet
from .data_preprocessor import DetDataPreprocessor
from .detectors import DETR
from .heads import DETRHead
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
    DETRTransformer,
    TorchTransformer,
    TransformerDecoder,
    TransformerEncoder,
)

__all__ = [
    'DETR',
    'BBoxL1Cost',
    'ClassificationCost',
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
    'SetCriterion',
    'SinePositionalEncoding',
    'TorchTransformer',
    'TransformerDecoder',
    'TransformerEncoder',
]
