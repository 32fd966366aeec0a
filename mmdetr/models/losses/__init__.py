from .bbox import GIoULoss, L1Loss
from .classification import CrossEntropyLoss, FocalLoss
from .dfine_criterion import DFINECriterion
from .edges import DecoupledDistillationLoss, FineGrainedLocalizationLoss
from .mask import DiceLoss, SigmoidFocalLoss
from .mask_criterion import MaskCriterion
from .prediction_statistics import PredictionStatistics
from .query_criterion import QueryCriterion
from .set_criterion import SetCriterion
from .varifocal import VarifocalLoss

__all__ = [
    'CrossEntropyLoss',
    'DFINECriterion',
    'DecoupledDistillationLoss',
    'DiceLoss',
    'FineGrainedLocalizationLoss',
    'FocalLoss',
    'GIoULoss',
    'L1Loss',
    'MaskCriterion',
    'PredictionStatistics',
    'QueryCriterion',
    'SetCriterion',
    'SigmoidFocalLoss',
    'VarifocalLoss',
]
