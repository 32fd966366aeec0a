from .bboxes import cxcywh_to_xyxy, generalized_iou, intersection_over_union, xyxy_to_cxcywh
from .class_activation import ClassActivation, SigmoidClasses, SoftmaxClasses
from .data_sample import DetDataSample
from .set_types import (
    PER_LAYER,
    DenoisingPrediction,
    QueryPrediction,
    SetPrediction,
    SetTarget,
)

__all__ = [
    'PER_LAYER',
    'ClassActivation',
    'DenoisingPrediction',
    'DetDataSample',
    'QueryPrediction',
    'SetPrediction',
    'SetTarget',
    'SigmoidClasses',
    'SoftmaxClasses',
    'cxcywh_to_xyxy',
    'generalized_iou',
    'intersection_over_union',
    'xyxy_to_cxcywh',
]
