from .bbox import GIoULoss, L1Loss
from .classification import CrossEntropyLoss
from .set_criterion import SetCriterion

__all__ = ['CrossEntropyLoss', 'GIoULoss', 'L1Loss', 'SetCriterion']
