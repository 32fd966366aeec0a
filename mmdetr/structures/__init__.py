from .bboxes import cxcywh_to_xyxy, generalized_iou, xyxy_to_cxcywh
from .data_sample import DetDataSample
from .set_types import SetPrediction, SetTarget

__all__ = [
    'DetDataSample',
    'SetPrediction',
    'SetTarget',
    'cxcywh_to_xyxy',
    'generalized_iou',
    'xyxy_to_cxcywh',
]
