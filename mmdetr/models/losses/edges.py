"""Losses of boxes that are distributions of edges.

Legend: L decoder layers, B images, N queries, P matched pairs of one layer, R bins less one.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmdetr.registry import MODELS
from mmdetr.structures.edge_distribution import EdgeBins
from mmdetr.utils.arguments import check_at_least


@MODELS.register_module()
class FineGrainedLocalizationLoss(nn.Module):
    """Cross entropy against the two bins on both sides of where an edge is.

    Args:
        loss_weight: Factor of the loss.

    Source: D-FINE, section 4.1, equation 6.
    """

    def __init__(self, loss_weight: float = 0.15) -> None:
        super().__init__()
        check_at_least(0, 'FineGrainedLocalizationLoss', loss_weight=loss_weight)
        self.loss_weight = loss_weight

    def forward(
        self,
        corners: Tensor,
        bins: EdgeBins,
        first: Tensor,
        target_bboxes: Tensor,
        ious: Tensor,
        avg_factor: Tensor,
    ) -> Tensor:
        """Compute the loss of each layer.

        Args:
            corners: [L, P, 4 (R + 1)] of the matched queries.
            bins: What a row of them means.
            first: [L, P, 4] boxes that the distributions start from, cxcywh.
            target_bboxes: [L, P, 4] boxes of the objects, cxcywh.
            ious: [L, P] of predicted box and object, the weight of a pair.
            avg_factor: Divisor of the sum.

        Returns:
            [L]
        """
        lower, share = bins.targets(target_bboxes, first.detach())
        log_probabilities = corners.unflatten(-1, (4, -1)).log_softmax(-1)
        below = -log_probabilities.gather(-1, lower[..., None])[..., 0]
        above = -log_probabilities.gather(-1, lower[..., None] + 1)[..., 0]
        loss = ((1 - share) * below + share * above).sum(-1) * ious.detach()
        return self.loss_weight * loss.sum(1) / avg_factor


@MODELS.register_module()
class DecoupledDistillationLoss(nn.Module):
    """Divergence of each layer's distributions from the last layer's, which teaches them.

    The mean over matched and the mean over other queries weigh as the roots of their numbers, so
    that the many others do not drown the matched.

    Args:
        loss_weight: Factor of the loss.
        temperature: Of both distributions.

    Source: D-FINE, section 4.2, equation 7 (decoupled distillation focal loss).
    """

    def __init__(self, loss_weight: float = 1.5, temperature: float = 5.0) -> None:
        super().__init__()
        check_at_least(0, 'DecoupledDistillationLoss', loss_weight=loss_weight)
        self.loss_weight = loss_weight
        self.temperature = temperature

    def forward(
        self,
        corners: Tensor,
        scores: Tensor,
        matched: tuple[Tensor, Tensor, Tensor],
        ious: Tensor,
        num_matched: int,
        num_others: int,
    ) -> Tensor:
        """Compute the loss of each layer but the last.

        Args:
            corners: [L, B, N, 4 (R + 1)] of all layers.
            scores: [B, N] best class probability of the last layer, the weight of a query without
                object.
            matched: Layer, image and query of the matched pairs, [L, P] each.
            ious: [L, P] of predicted box and object, the weight of a matched query.
            num_matched: Matched queries that weigh the two means.
            num_others: The other queries.

        Returns:
            [L - 1]
        """
        taught = (corners[:-1] / self.temperature).unflatten(-1, (4, -1)).log_softmax(-1)
        teacher = (corners[-1:].detach() / self.temperature).unflatten(-1, (4, -1)).softmax(-1)
        divergence = F.kl_div(taught, teacher.expand_as(taught), reduction='none').sum(-1)
        weight = scores.detach().expand(len(corners), -1, -1).clone()
        weight[matched] = ious.detach()
        is_matched = torch.zeros_like(weight, dtype=torch.bool)
        is_matched[matched] = True
        loss = self.temperature**2 * (weight[:-1, ..., None] * divergence).mean(-1)
        means = [
            (loss * chosen).sum((1, 2)) / chosen.sum((1, 2)).clamp(min=1)
            for chosen in (is_matched[:-1], ~is_matched[:-1])
        ]
        roots = num_matched**0.5, num_others**0.5
        total = means[0] * roots[0] + means[1] * roots[1]
        return self.loss_weight * total / max(sum(roots), 1e-12)
