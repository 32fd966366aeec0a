"""Boxes as distributions over how far each edge lies from where a first guess has it.

Legend: L decoder layers, B images, N queries, R bins less one; leading dimensions are free.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from .bboxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from .set_types import PER_LAYER, DenoisingPrediction, QueryPrediction, SetPrediction


@dataclasses.dataclass(frozen=True)
class EdgeBins:
    """What a row of R + 1 logits of an edge means: steps of an edge, fine near zero.

    An edge's step is the mean of the distribution, in units of the first box's width or height
    divided by ``scale``.

    Attributes:
        reg_max: R, even.
        scale: Curvature; the larger, the flatter near zero.
        reach: Half of the largest step, in widths or heights.

    Source: D-FINE, section 4.1, equations 1 to 3.
    """

    reg_max: int = 32
    scale: float = 4.0
    reach: float = 0.5

    def steps(self, device: torch.device | None = None) -> Tensor:
        """Return the step of each bin, float32 [R + 1], in rising order.

        Source: D-FINE, equation 3 (weighting function W).
        """
        limit = self.reach * self.scale
        base = torch.tensor(limit + 1, device=device) ** (2 / (self.reg_max - 2))
        right = base ** torch.arange(1, self.reg_max // 2, device=device) - 1
        end = right.new_tensor([2 * limit])
        return torch.cat((-end, -right.flip(0), right.new_zeros(1), right, end))

    def bboxes(self, corners: Tensor, first: Tensor) -> Tensor:
        """Logits [..., 4 (R + 1)], edges l, t, r, b, and first boxes cxcywh [..., 4] -> cxcywh."""
        probabilities = corners.to(first.dtype).unflatten(-1, (4, -1)).softmax(-1)
        distances = 0.5 * self.scale + probabilities @ self.steps(first.device).to(first.dtype)
        centre, size = first.split(2, dim=-1)
        unit = size / self.scale
        corners_xyxy = torch.cat(
            (centre - distances[..., :2] * unit, centre + distances[..., 2:] * unit), dim=-1
        )
        return xyxy_to_cxcywh(corners_xyxy)

    def targets(self, bboxes: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Say between which bins the edges of objects lie.

        Args:
            bboxes: [..., 4] boxes of the objects, cxcywh.
            first: [..., 4] first boxes, cxcywh.

        Returns:
            int64 [..., 4] the lower of two neighbouring bins, and [..., 4] the share of the upper
            one. What lies beyond the bins belongs to the first or the last.

        Source: D-FINE, section 4.1, equation 6 (fine-grained localization loss).
        """
        centre, size = first.split(2, dim=-1)
        unit = size / self.scale + 1e-16
        top_left, bottom_right = cxcywh_to_xyxy(bboxes).split(2, dim=-1)
        steps = torch.cat(((centre - top_left) / unit, (bottom_right - centre) / unit), dim=-1)
        steps = steps - 0.5 * self.scale
        bins = self.steps(bboxes.device)
        lower = (torch.searchsorted(bins, steps.contiguous(), right=True) - 1).clamp(
            0, self.reg_max - 1
        )
        share = (steps - bins[lower]) / (bins[lower + 1] - bins[lower])
        return lower, share.clamp(0, 1)


@dataclasses.dataclass(frozen=True)
class EdgeDenoisingPrediction(DenoisingPrediction):
    """DenoisingPrediction with the fields of EdgePrediction."""

    corners: Tensor | None = dataclasses.field(default=None, metadata=PER_LAYER)
    first: SetPrediction | None = None
    bins: EdgeBins = EdgeBins()


@dataclasses.dataclass(frozen=True)
class EdgePrediction(QueryPrediction):
    """QueryPrediction whose boxes are distributions.

    Attributes:
        corners: [L, B, N, 4 (R + 1)] logits of the edges l, t, r, b, from which the boxes follow.
        first: What an ordinary head predicts after the first layer, L = 1; its boxes are what the
            distributions of all layers start from.
        bins: What a row of ``corners`` means.
    """

    corners: Tensor | None = dataclasses.field(default=None, metadata=PER_LAYER)
    first: SetPrediction | None = None
    bins: EdgeBins = EdgeBins()
