from .bbox import GIoULoss, L1Loss
from .classification import CrossEntropyLoss
from .mask import DiceLoss, SigmoidFocalLoss
from .mask_criterion import MaskCriterion
from .prediction_statistics import PredictionStatistics
from .set_criterion import SetCriterion

__all__ = [
    'CrossEntropyLoss',
    'DiceLoss',
    'GIoULoss',
    'L1Loss',
    'MaskCriterion',
    'PredictionStatistics',
    'SetCriterion',
    'SigmoidFocalLoss',
]
