from .coco_metric import CocoMetric
from .panoptic_metric import CocoPanopticMetric

__all__ = ['CocoMetric', 'CocoPanopticMetric']
