"""Costs of giving an object to a query, for all layers and images at once.

Legend: L decoder layers, B images, N queries, K classes, T objects of the fullest image.
"""

import torch
from torch import Tensor

from mmdetr.registry import TASK_UTILS
from mmdetr.structures import SetPrediction, SetTarget, cxcywh_to_xyxy, generalized_iou
from mmdetr.utils.arguments import check_at_least


@TASK_UTILS.register_module()
class ClassificationCost:
    """Minus the probability of the object's class.

    Args:
        weight: Factor of the cost.

    Source: paper section 3.1 (equation 1) and appendix A.2: the probability itself instead of its
        logarithm, to be commensurable with the box costs.
    """

    def __init__(self, weight: float = 1.0) -> None:
        check_at_least(0, 'ClassificationCost', weight=weight)
        self.weight = weight

    def __call__(self, prediction: SetPrediction, target: SetTarget) -> Tensor:
        """Probabilities [L, B, N, K], labels [B, T] -> cost [L, B, N, T]."""
        num_layers, _, num_queries, _ = prediction.logits.shape
        index = target.labels[None, :, None, :].expand(num_layers, -1, num_queries, -1)
        return -self.weight * prediction.probabilities.gather(-1, index)


@TASK_UTILS.register_module()
class BBoxL1Cost:
    """Sum of absolute differences of normalised centre, width and height.

    Args:
        weight: Factor of the cost.

    Source: paper equation 9.
    """

    def __init__(self, weight: float = 5.0) -> None:
        check_at_least(0, 'BBoxL1Cost', weight=weight)
        self.weight = weight

    def __call__(self, prediction: SetPrediction, target: SetTarget) -> Tensor:
        """Boxes cxcywh [L, B, N, 4] and [B, T, 4] -> cost [L, B, N, T]."""
        bboxes = target.bboxes.expand(len(prediction.bboxes), -1, -1, -1).contiguous()
        return self.weight * torch.cdist(prediction.bboxes.contiguous(), bboxes, p=1)


@TASK_UTILS.register_module()
class GIoUCost:
    """Minus the generalised IoU.

    Args:
        weight: Factor of the cost.

    Source: paper equation 10.
    """

    def __init__(self, weight: float = 2.0) -> None:
        check_at_least(0, 'GIoUCost', weight=weight)
        self.weight = weight

    def __call__(self, prediction: SetPrediction, target: SetTarget) -> Tensor:
        """Boxes cxcywh [L, B, N, 4] and [B, T, 4] -> cost [L, B, N, T]."""
        predicted = cxcywh_to_xyxy(prediction.bboxes)[..., :, None, :]
        return -self.weight * generalized_iou(predicted, cxcywh_to_xyxy(target.bboxes)[:, None])


@TASK_UTILS.register_module()
class FocalCost:
    """What the focal loss of the object's class would change if the query took the object.

    Args:
        weight: Factor of the cost.
        alpha: Weight of the object's class, as in :class:`FocalLoss`.
        gamma: As in :class:`FocalLoss`.

    Source: Deformable DETR, authors' code; used by all successors of DETR with sigmoid classes.
    """

    def __init__(self, weight: float = 2.0, alpha: float = 0.25, gamma: float = 2.0) -> None:
        check_at_least(0, 'FocalCost', weight=weight, alpha=alpha, gamma=gamma)
        self.weight = weight
        self.alpha = alpha
        self.gamma = gamma

    def __call__(self, prediction: SetPrediction, target: SetTarget) -> Tensor:
        """Probabilities [L, B, N, K], labels [B, T] -> cost [L, B, N, T]."""
        p = prediction.probabilities
        taken = self.alpha * (1 - p) ** self.gamma * -(p + 1e-8).log()
        left = (1 - self.alpha) * p**self.gamma * -(1 - p + 1e-8).log()
        num_layers, _, num_queries, _ = p.shape
        index = target.labels[None, :, None, :].expand(num_layers, -1, num_queries, -1)
        return self.weight * (taken - left).gather(-1, index)
