from .bbox import GIoULoss, L1Loss
from .classification import CrossEntropyLoss, FocalLoss
from .dfine_criterion import DFINECriterion
from .edges import DecoupledDistillationLoss, FineGrainedLocalizationLoss
from .prediction_statistics import PredictionStatistics
from .query_criterion import QueryCriterion
from .set_criterion import SetCriterion
from .varifocal import VarifocalLoss

__all__ = [
    'CrossEntropyLoss',
    'DFINECriterion',
    'DecoupledDistillationLoss',
    'FineGrainedLocalizationLoss',
    'FocalLoss',
    'GIoULoss',
    'L1Loss',
    'PredictionStatistics',
    'QueryCriterion',
    'SetCriterion',
    'VarifocalLoss',
]
