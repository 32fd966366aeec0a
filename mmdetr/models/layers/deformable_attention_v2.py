"""Deformable attention of RT-DETRv2 and D-FINE.

Legend: B images, Q queries, h w size of a level, S pixels of all levels, M heads, P points of all
levels, D channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .deformable_attention import MultiScaleDeformableAttention

SAMPLINGS = ('bilinear', 'discrete')


class DiscreteSampling(nn.Module):
    """Sum single pixels near the points; needs no ``grid_sample`` where a model is deployed.

    Args:
        num_points: Points on each level.

    Source: RT-DETRv2, section 3.2. As in the authors' code, a point counts as half a pixel further
        right and down than in bilinear sampling, nothing is zero outside, and both coordinates are
        clamped to the height of the level. That is for square images: in wider ones no point
        reaches the right.
    """

    def __init__(self, num_points: Sequence[int]) -> None:
        super().__init__()
        self.num_points = tuple(num_points)

    def forward(
        self,
        value: Tensor,
        shapes: Sequence[tuple[int, int]],
        locations: Tensor,
        weights: Tensor,
    ) -> Tensor:
        """See :func:`multi_scale_deformable_attention`."""
        start, indices = 0, []
        for (height, width), points in zip(
            shapes, locations.split(list(self.num_points), dim=3), strict=True
        ):
            # Side by side, for a tensor of the size would fix it in an exported model.
            sides = zip(points.unbind(-1), (width, height), strict=True)
            x, y = [(each * side + 0.5).long().clamp(0, height - 1) for each, side in sides]
            indices.append(start + y * width + x.clamp(max=width - 1))
            start += height * width
        index = torch.cat(indices, dim=-1).transpose(1, 2).flatten(2)  # [B, M, Q P]
        rows = value.transpose(1, 2)  # [B, M, S, D / M]
        sampled = rows.gather(2, index[..., None].expand(-1, -1, -1, rows.shape[-1]))
        sampled = sampled.unflatten(2, (weights.shape[1], -1)).transpose(1, 2)  # [B, Q, M, P, D/M]
        return (sampled * weights[..., None]).sum(3).flatten(2)


class DeformableAttentionV2(MultiScaleDeformableAttention):
    """MultiScaleDeformableAttention with what RT-DETRv2 and D-FINE change.

    Args:
        embed_dims: D.
        num_heads: M; divides D.
        num_points: Points of each head on every level.
        sampling: ``'bilinear'``, or ``'discrete'`` (DiscreteSampling); the offsets are not trained
            then.
        projected: Project values and output; D-FINE does not.

    Raises:
        ValueError: ``sampling`` is another word, or a number is out of its range.

    Source: RT-DETRv2, sections 3.1 and 3.2; D-FINE, appendix A.3. With the same number of points
        on each level and all projections it is the attention of RT-DETR's first version.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        num_points: Sequence[int],
        sampling: str = 'bilinear',
        projected: bool = True,
    ) -> None:
        super().__init__(embed_dims, num_heads, len(num_points), num_points)
        if sampling not in SAMPLINGS:
            raise ValueError(f'sampling must be one of {SAMPLINGS}, not {sampling!r}')
        if sampling == 'discrete':
            self.add_module('sampling', DiscreteSampling(num_points))
            self.sampling_offsets.requires_grad_(False)
        if not projected:
            self.add_module('value_proj', nn.Identity())
            self.add_module('output_proj', nn.Identity())
