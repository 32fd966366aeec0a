"""Classification loss over all queries.

Legend: L decoder layers, B images, N queries, K classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmdetr.registry import MODELS
from mmdetr.utils.arguments import check_at_least


@MODELS.register_module()
class CrossEntropyLoss(nn.Module):
    """Cross entropy in which no-object counts less.

    Args:
        no_object_weight: Weight of queries whose target is no-object; they are the many.
        loss_weight: Factor of the loss.

    Source: paper section 3.1, equation 2 ("down-weight by a factor 10").
    """

    def __init__(self, no_object_weight: float = 0.1, loss_weight: float = 1.0) -> None:
        super().__init__()
        weights = dict(no_object_weight=no_object_weight, loss_weight=loss_weight)
        check_at_least(0, 'CrossEntropyLoss', **weights)
        self.no_object_weight = no_object_weight
        self.loss_weight = loss_weight

    def weight_sum(self, num_objects: int, num_no_objects: int) -> float:
        """Sum of the weights of all queries of one layer, the divisor of a weighted mean."""
        return num_objects + self.no_object_weight * num_no_objects

    def forward(self, logits: Tensor, target_labels: Tensor, avg_factor: Tensor) -> Tensor:
        """Logits [L, B, N, K + 1], labels [L, B, N] -> [L], summed and divided by ``avg_factor``.

        The label K means no-object.
        """
        weight = torch.ones(logits.shape[-1], device=logits.device)
        weight[-1] = self.no_object_weight
        loss = F.cross_entropy(
            logits.flatten(0, 2), target_labels.flatten(), weight=weight, reduction='none'
        )
        return self.loss_weight * loss.view(len(logits), -1).sum(1) / avg_factor
