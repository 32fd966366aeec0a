from .hungarian_assigner import Assignment, HungarianAssigner
from .match_costs import BBoxL1Cost, ClassificationCost, FocalCost, GIoUCost

__all__ = [
    'Assignment',
    'BBoxL1Cost',
    'ClassificationCost',
    'FocalCost',
    'GIoUCost',
    'HungarianAssigner',
]
