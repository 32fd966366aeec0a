"""Classification loss that learns how well the box fits.

Legend: L decoder layers, B images, N queries, K classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmdetr.registry import MODELS
from mmdetr.structures import SetPrediction
from mmdetr.utils.arguments import check_at_least


@MODELS.register_module()
class VarifocalLoss(nn.Module):
    """Binary cross entropy against the IoU of box and object, divided by the objects.

    Args:
        alpha: Weight of the classes that a query does not stand for.
        gamma: How fast that weight falls where their probability is low already.
        loss_weight: Factor of the loss.

    Source: Zhang et al., VarifocalNet, equation 2; as in RT-DETR's code, where the weight of a
        matched query's class is the IoU, and of its other classes that of background.
    """

    # The criterion passes the IoU of every matched query.
    needs_ious = True

    def __init__(self, alpha: float = 0.75, gamma: float = 2.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        check_at_least(0, 'VarifocalLoss', alpha=alpha, gamma=gamma, loss_weight=loss_weight)
        self.alpha = alpha
        self.gamma = gamma
        self.loss_weight = loss_weight

    def avg_factor(self, num_objects: int, num_matched: int, num_queries: int) -> float:
        """Return the number of objects, matched or not."""
        return num_objects

    def forward(
        self, prediction: SetPrediction, target_labels: Tensor, avg_factor: Tensor, ious: Tensor
    ) -> Tensor:
        """Compute the loss of each layer.

        Args:
            prediction: Its logits are [L, B, N, K].
            target_labels: [L, B, N] in 0..K, K for no-object.
            avg_factor: Number of objects; counts as 1 where there are fewer.
            ious: [L, B, N] of the predicted box and that of its object, 0 without object.

        Returns:
            [L]

        Raises:
            ValueError: The logits have a row for no-object.
        """
        if prediction.class_activation.has_no_object:
            raise ValueError(
                'VarifocalLoss needs logits without no-object: set bbox_head.class_activation to '
                f'SigmoidClasses, not {type(prediction.class_activation).__name__}, or take '
                'another loss_cls'
            )
        logits = prediction.logits
        num_classes = logits.shape[-1]
        is_class = F.one_hot(target_labels, num_classes + 1)[..., :num_classes].to(logits)
        wanted = ious.detach()[..., None] * is_class
        background = self.alpha * logits.detach().sigmoid() ** self.gamma
        weight = torch.where(is_class > 0, wanted, background)
        loss = F.binary_cross_entropy_with_logits(logits, wanted, weight, reduction='none')
        return self.loss_weight * loss.sum((1, 2, 3)) / avg_factor.clamp(min=1)
