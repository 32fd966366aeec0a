from .assigners import BBoxL1Cost, ClassificationCost, GIoUCost, HungarianAssigner
from .backbones import ResNet
from .data_preprocessor import DetDataPreprocessor
from .detectors import DETR
from .heads import DETRHead, DETRMaskHead, MaskHead, PanopticSegmentation
from .layers import (
    FlatPositionalEncoding,
    LearnedPositionalEncoding,
    SinePositionalEncoding,
)
from .losses import (
    CrossEntropyLoss,
    DiceLoss,
    GIoULoss,
    L1Loss,
    MaskCriterion,
    PredictionStatistics,
    SetCriterion,
    SigmoidFocalLoss,
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
    'CrossEntropyLoss',
    'DETRHead',
    'DETRMaskHead',
    'DETRTransformer',
    'DetDataPreprocessor',
    'DiceLoss',
    'FlatPositionalEncoding',
    'GIoUCost',
    'GIoULoss',
    'HungarianAssigner',
    'InputProjection',
    'L1Loss',
    'LearnedPositionalEncoding',
    'MaskCriterion',
    'MaskHead',
    'PanopticSegmentation',
    'PredictionStatistics',
    'ResNet',
    'SetCriterion',
    'SigmoidFocalLoss',
    'SinePositionalEncoding',
    'TorchTransformer',
    'TransformerDecoder',
    'TransformerEncoder',
]
