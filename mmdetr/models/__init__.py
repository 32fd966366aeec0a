from .assigners import BBoxL1Cost, ClassificationCost, FocalCost, GIoUCost, HungarianAssigner
from .backbones import HGNetV2, ResNet, ResNetVd, TimmBackbone
from .data_preprocessor import DetDataPreprocessor
from .detectors import DETR
from .heads import DETRHead, DFINEHead, RTDETRHead
from .layers import (
    ContrastiveDenoising,
    FlatPositionalEncoding,
    GroupDenoising,
    LearnedPositionalEncoding,
    SinePositionalEncoding,
)
from .losses import (
    CrossEntropyLoss,
    DecoupledDistillationLoss,
    DFINECriterion,
    FineGrainedLocalizationLoss,
    FocalLoss,
    GIoULoss,
    L1Loss,
    PredictionStatistics,
    QueryCriterion,
    SetCriterion,
    VarifocalLoss,
)
from .necks import DFINEHybridEncoder, HybridEncoder, InputProjection
from .transformers import (
    DETRTransformer,
    DFINEDecoder,
    RTDETRDecoder,
    RTDETRTransformer,
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
    'DFINECriterion',
    'DFINEDecoder',
    'DFINEHead',
    'DFINEHybridEncoder',
    'DecoupledDistillationLoss',
    'DetDataPreprocessor',
    'FineGrainedLocalizationLoss',
    'FlatPositionalEncoding',
    'FocalCost',
    'FocalLoss',
    'GIoUCost',
    'GIoULoss',
    'GroupDenoising',
    'HGNetV2',
    'HungarianAssigner',
    'HybridEncoder',
    'InputProjection',
    'L1Loss',
    'LearnedPositionalEncoding',
    'PredictionStatistics',
    'QueryCriterion',
    'RTDETRDecoder',
    'RTDETRHead',
    'RTDETRTransformer',
    'ResNet',
    'ResNetVd',
    'SetCriterion',
    'SinePositionalEncoding',
    'TimmBackbone',
    'TorchTransformer',
    'TransformerDecoder',
    'TransformerEncoder',
    'VarifocalLoss',
]
