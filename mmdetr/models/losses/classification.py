"""Classification losses over all queries.

Legend: L decoder layers, B images, N queries, K classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from mmdetr.registry import MODELS
from mmdetr.structures import SetPrediction
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

    def avg_factor(self, num_objects: int, num_matched: int, num_queries: int) -> float:
        """Sum of the weights of all queries of one layer, the divisor of a weighted mean."""
        return num_matched + self.no_object_weight * (num_queries - num_matched)

    def forward(
        self, prediction: SetPrediction, target_labels: Tensor, avg_factor: Tensor
    ) -> Tensor:
        """Compute the loss of each layer, summed over queries and divided by ``avg_factor``.

        Args:
            prediction: Its logits are [L, B, N, K + 1], no-object last.
            target_labels: [L, B, N] in 0..K, K for no-object.
            avg_factor: Sum of the weights; 0 where nothing has a weight, which gives the loss 0.

        Returns:
            [L]

        Raises:
            ValueError: The logits have no row for no-object.
        """
        if not prediction.class_activation.has_no_object:
            raise ValueError(
                'CrossEntropyLoss needs logits with no-object: set bbox_head.class_activation to '
                f'SoftmaxClasses, not {type(prediction.class_activation).__name__}, or take '
                'another loss_cls'
            )
        logits = prediction.logits
        weight = torch.ones(logits.shape[-1], device=logits.device)
        weight[-1] = self.no_object_weight
        loss = F.cross_entropy(
            logits.flatten(0, 2), target_labels.flatten(), weight=weight, reduction='none'
        )
        total = loss.view(len(logits), -1).sum(1)
        return self.loss_weight * total / avg_factor.clamp(min=torch.finfo(total.dtype).tiny)


@MODELS.register_module()
class FocalLoss(nn.Module):
    """Sigmoid focal loss of every class, summed over the queries and divided by the objects.

    Args:
        alpha: Weight of the object's class; the other classes weigh ``1 - alpha``.
        gamma: How fast the weight falls where the prediction is right already.
        loss_weight: Factor of the loss.

    Source: Lin et al., Focal Loss for Dense Object Detection, equation 5; divided by the number of
        objects as in Deformable DETR.
    """

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, loss_weight: float = 2.0) -> None:
        super().__init__()
        check_at_least(0, 'FocalLoss', alpha=alpha, gamma=gamma, loss_weight=loss_weight)
        self.alpha = alpha
        self.gamma = gamma
        self.loss_weight = loss_weight

    def avg_factor(self, num_objects: int, num_matched: int, num_queries: int) -> float:
        """Return the number of objects, matched or not."""
        return num_objects

    def forward(
        self, prediction: SetPrediction, target_labels: Tensor, avg_factor: Tensor
    ) -> Tensor:
        """Compute the loss of each layer.

        Args:
            prediction: Its logits are [L, B, N, K].
            target_labels: [L, B, N] in 0..K, K for no-object.
            avg_factor: Number of objects; counts as 1 where there are fewer.

        Returns:
            [L]

        Raises:
            ValueError: The logits have a row for no-object.
        """
        if prediction.class_activation.has_no_object:
            raise ValueError(
                'FocalLoss needs logits without no-object: set bbox_head.class_activation to '
                f'SigmoidClasses, not {type(prediction.class_activation).__name__}, or take '
                'another loss_cls'
            )
        logits = prediction.logits
        num_classes = logits.shape[-1]
        wanted = F.one_hot(target_labels, num_classes + 1)[..., :num_classes].to(logits)
        loss = sigmoid_focal_loss(logits, wanted, self.alpha, self.gamma)
        return self.loss_weight * loss.sum((1, 2, 3)) / avg_factor.clamp(min=1)
