from .bbox import GIoULoss, L1Loss
from .classification import CrossEntropyLoss
from .prediction_statistics import PredictionStatistics
from .set_criterion import SetCriterion

__all__ = ['CrossEntropyLoss', 'GIoULoss', 'L1Loss', 'PredictionStatistics', 'SetCriterion']
