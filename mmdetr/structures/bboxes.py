"""Box arithmetic; on tensors it broadcasts over any leading dimensions.

torchvision.ops has the pairwise forms for one image; the criterion needs all images and decoder
layers in one product.
"""

import torch
from torch import Tensor

Bbox = tuple[float, float, float, float]


def common_area(first_xyxy: Bbox, second_xyxy: Bbox) -> float:
    """Return the area that two boxes share; for single boxes, where a tensor costs more."""
    width = min(first_xyxy[2], second_xyxy[2]) - max(first_xyxy[0], second_xyxy[0])
    height = min(first_xyxy[3], second_xyxy[3]) - max(first_xyxy[1], second_xyxy[1])
    return max(width, 0.0) * max(height, 0.0)


def cxcywh_to_xyxy(bboxes_cxcywh: Tensor) -> Tensor:
    """[..., 4] centre, width, height -> [..., 4] left, top, right, bottom, in the same units.

    Example:
        >>> cxcywh_to_xyxy(torch.tensor([0.5, 0.5, 0.2, 1.0])).tolist()
        [0.4000000059604645, 0.0, 0.6000000238418579, 1.0]
    """
    centre, size = bboxes_cxcywh.split(2, dim=-1)
    half = 0.5 * size
    return torch.cat((centre - half, centre + half), dim=-1)


def xyxy_to_cxcywh(bboxes_xyxy: Tensor) -> Tensor:
    """[..., 4] left, top, right, bottom -> [..., 4] centre, width, height, in the same units."""
    top_left, bottom_right = bboxes_xyxy.split(2, dim=-1)
    return torch.cat((0.5 * (top_left + bottom_right), bottom_right - top_left), dim=-1)


def generalized_iou(bboxes1_xyxy: Tensor, bboxes2_xyxy: Tensor, eps: float = 1e-12) -> Tensor:
    """Generalised intersection over union of boxes that broadcast against each other.

    Args:
        bboxes1_xyxy: [..., 4]; insert a dimension of size 1 to get all pairs.
        bboxes2_xyxy: [..., 4], broadcastable with the first.
        eps: Floor of both denominators, so that two empty boxes give a finite value.

    Returns:
        [...] in -1..1.

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [4, 0, 6, 2]])
        >>> generalized_iou(boxes[:1], boxes).tolist()  # equal, overlapping by half, apart
        [1.0, 0.3333333432674408, -0.3333333432674408]

    Source: Rezatofighi et al., Generalized Intersection over Union, algorithm 1; DETR appendix A.2.
    """
    intersection, union = _areas(bboxes1_xyxy, bboxes2_xyxy, eps)
    hull_top_left = torch.minimum(bboxes1_xyxy[..., :2], bboxes2_xyxy[..., :2])
    hull_bottom_right = torch.maximum(bboxes1_xyxy[..., 2:], bboxes2_xyxy[..., 2:])
    hull = (hull_bottom_right - hull_top_left).prod(-1).clamp(min=eps)
    return intersection / union - (hull - union) / hull


def intersection_over_union(
    bboxes1_xyxy: Tensor, bboxes2_xyxy: Tensor, eps: float = 1e-12
) -> Tensor:
    """Intersection over union of boxes that broadcast against each other, [...] in 0..1.

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [4, 0, 6, 2]])
        >>> intersection_over_union(boxes[:1], boxes).tolist()
        [1.0, 0.3333333432674408, 0.0]
    """
    intersection, union = _areas(bboxes1_xyxy, bboxes2_xyxy, eps)
    return intersection / union


def _areas(bboxes1_xyxy: Tensor, bboxes2_xyxy: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Intersection and union; the union at least ``eps``."""
    area1 = (bboxes1_xyxy[..., 2:] - bboxes1_xyxy[..., :2]).prod(-1)
    area2 = (bboxes2_xyxy[..., 2:] - bboxes2_xyxy[..., :2]).prod(-1)
    top_left = torch.maximum(bboxes1_xyxy[..., :2], bboxes2_xyxy[..., :2])
    bottom_right = torch.minimum(bboxes1_xyxy[..., 2:], bboxes2_xyxy[..., 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(-1)
    return intersection, (area1 + area2 - intersection).clamp(min=eps)
