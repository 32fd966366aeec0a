"""Box losses over matched pairs.

Legend: L decoder layers, P matched pairs of one layer.
"""

from torch import Tensor, nn

from mmdetr.registry import MODELS
from mmdetr.structures import cxcywh_to_xyxy, generalized_iou
from mmdetr.utils.arguments import check_at_least


@MODELS.register_module()
class L1Loss(nn.Module):
    """Sum of absolute differences of normalised centre, width and height.

    Args:
        loss_weight: Factor of the loss.

    Source: paper equation 9.
    """

    def __init__(self, loss_weight: float = 5.0) -> None:
        super().__init__()
        check_at_least(0, 'L1Loss', loss_weight=loss_weight)
        self.loss_weight = loss_weight

    def forward(self, bboxes: Tensor, target_bboxes: Tensor, avg_factor: Tensor) -> Tensor:
        """Boxes cxcywh 0..1, [L, P, 4] both -> [L], summed and divided by ``avg_factor``."""
        return self.loss_weight * (bboxes - target_bboxes).abs().sum((1, 2)) / avg_factor


@MODELS.register_module()
class GIoULoss(nn.Module):
    """One minus the generalised IoU.

    Args:
        loss_weight: Factor of the loss.

    Source: paper equation 10.
    """

    def __init__(self, loss_weight: float = 2.0) -> None:
        super().__init__()
        check_at_least(0, 'GIoULoss', loss_weight=loss_weight)
        self.loss_weight = loss_weight

    def forward(self, bboxes: Tensor, target_bboxes: Tensor, avg_factor: Tensor) -> Tensor:
        """Boxes cxcywh 0..1, [L, P, 4] both -> [L], summed and divided by ``avg_factor``."""
        giou = generalized_iou(cxcywh_to_xyxy(bboxes), cxcywh_to_xyxy(target_bboxes))
        return self.loss_weight * (1 - giou).sum(1) / avg_factor
