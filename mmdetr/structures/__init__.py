from .bboxes import cxcywh_to_xyxy, generalized_iou, intersection_over_union, xyxy_to_cxcywh
from .class_activation import ClassActivation, SigmoidClasses, SoftmaxClasses
from .data_sample import DetDataSample, above_operating_point
from .mask_types import MaskInputs, MaskPrediction, MaskTarget
from .panoptic import PanopticResult, PanopticSegment
from .set_types import (
    PER_LAYER,
    UNPADDED,
    DenoisingPrediction,
    QueryPrediction,
    SetPrediction,
    SetTarget,
)

__all__ = [
    'PER_LAYER',
    'UNPADDED',
    'ClassActivation',
    'DenoisingPrediction',
    'DetDataSample',
    'MaskInputs',
    'MaskPrediction',
    'MaskTarget',
    'PanopticResult',
    'PanopticSegment',
    'QueryPrediction',
    'SetPrediction',
    'SetTarget',
    'SigmoidClasses',
    'SoftmaxClasses',
    'above_operating_point',
    'cxcywh_to_xyxy',
    'generalized_iou',
    'intersection_over_union',
    'xyxy_to_cxcywh',
]
