"""Attention to a few points around a reference point or box, on several feature maps.

Legend: B images, Q queries, L levels (feature maps), h w size of a level, S pixels of all levels, M
heads, P points of all levels, D channels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmdetr.utils.arguments import check_at_least


def multi_scale_deformable_attention(
    value: Tensor,
    shapes: Sequence[tuple[int, int]],
    locations: Tensor,
    weights: Tensor,
    num_points: Sequence[int],
) -> Tensor:
    """Sum the values at each query's points, read bilinearly, by the attention weights.

    Pixel (i, j) of a level covers i / w to (i + 1) / w and j / h to (j + 1) / h; outside of the
    level all is zero. The sum is taken in float32 at least and returned in the dtype of ``value``.

    Args:
        value: [B, S, M, D / M], the levels one after the other, each in reading order.
        shapes: (h, w) of each level.
        locations: [B, Q, M, P, 2] as x, y in 0..1 of the padded level; the points of the first
            level come first.
        weights: [B, Q, M, P].
        num_points: Points on each level, P in sum.

    Returns:
        [B, Q, D], the heads side by side.

    Source: Deformable DETR, equation 3.
    """
    batch_size, num_queries, num_heads = weights.shape[:3]
    dtype = torch.promote_types(value.dtype, torch.float32)
    levels = value.to(dtype).split([height * width for height, width in shapes], dim=1)
    grid = (2 * locations.to(dtype) - 1).transpose(1, 2).flatten(0, 1)  # [B M, Q, P, 2]
    factors = weights.to(dtype).transpose(1, 2).flatten(0, 1)[:, None]  # [B M, 1, Q, P]
    sums = []
    for level, (height, width), points, factor in zip(
        levels,
        shapes,
        grid.split(list(num_points), dim=2),
        factors.split(list(num_points), dim=3),
        strict=True,
    ):
        # The channels of a pixel stay side by side, where one point reads and writes them.
        maps = level.transpose(1, 2).reshape(batch_size * num_heads, height, width, -1)
        maps = maps.permute(0, 3, 1, 2)
        sampled = F.grid_sample(maps, points, align_corners=False)  # [B M, D / M, Q, P]
        sums.append((sampled * factor).sum(-1))
    return sum(sums[1:], sums[0]).view(batch_size, -1, num_queries).transpose(1, 2).to(value.dtype)


def point_sizes(
    shapes: Sequence[tuple[int, int]], num_points: Sequence[int], like: Tensor
) -> Tensor:
    """Return width and height of the level of each point, [P, 2], as ``like`` in dtype and device.

    An exported model computes them from its input; ``new_tensor`` would keep those of the export.
    """
    sizes = [
        torch.stack((like.new_full((number,), width), like.new_full((number,), height)), dim=-1)
        for (height, width), number in zip(shapes, num_points, strict=True)
    ]
    return torch.cat(sizes)


class DeformableSampling(nn.Module):
    """:func:`multi_scale_deformable_attention` as a part of a model, so that it has a fast form.

    Args:
        num_points: Points on each level.
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
        return multi_scale_deformable_attention(value, shapes, locations, weights, self.num_points)


class MultiScaleDeformableAttention(nn.Module):
    """Attend to a few learned points instead of to every pixel.

    Parameter names are those of the authors, so published weights fit. Locations stay in float32
    under mixed precision: a bfloat16 number tells only 256 places of an image apart.

    Args:
        embed_dims: D.
        num_heads: M; divides D.
        num_levels: L.
        num_points: Points of each head on every level, or one number for each level.

    Source: Deformable DETR, section 4.1, equation 3; start values of appendix A.4. Boxes as
        references: appendix A.4 "iterative bounding box refinement", equation 9.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int = 8,
        num_levels: int = 4,
        num_points: int | Sequence[int] = 4,
    ) -> None:
        super().__init__()
        points = (num_points,) * num_levels if isinstance(num_points, int) else tuple(num_points)
        check_at_least(
            1,
            'MultiScaleDeformableAttention',
            num_heads=num_heads,
            num_levels=num_levels,
            num_points=min(points, default=0),
        )
        if embed_dims % num_heads:
            raise ValueError(f'embed_dims {embed_dims} is not a multiple of num_heads {num_heads}')
        if len(points) != num_levels:
            raise ValueError(
                f'num_points {points} must be {num_levels} numbers, one for each level'
            )
        self.num_heads = num_heads
        self.num_points = points
        num_all = num_heads * sum(points)
        self.sampling_offsets = nn.Linear(embed_dims, 2 * num_all)
        self.attention_weights = nn.Linear(embed_dims, num_all)
        self.value_proj = nn.Linear(embed_dims, embed_dims)
        self.output_proj = nn.Linear(embed_dims, embed_dims)
        self.sampling = DeformableSampling(points)
        self.init_weights()

    def init_weights(self) -> None:
        """Let head m look in direction 2 pi m / M, its k-th point on a level k pixels away."""
        angles = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        directions = torch.stack((angles.cos(), angles.sin()), dim=-1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        steps = torch.cat([torch.arange(1.0, number + 1) for number in self.num_points])
        with torch.no_grad():
            self.sampling_offsets.bias.copy_((directions[:, None] * steps[:, None]).flatten())
        for parameter in (self.sampling_offsets.weight, *self.attention_weights.parameters()):
            nn.init.zeros_(parameter)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(
        self,
        query: Tensor,
        reference_points: Tensor,
        value: Tensor,
        shapes: Sequence[tuple[int, int]],
        padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            query: [B, Q, D].
            reference_points: [B, Q, L or 1, 2] x, y or [B, Q, L or 1, 4] cx, cy, w, h in 0..1 of
                the padded level.
            value: [B, S, D], the pixels of all levels in order.
            shapes: (h, w) of each level.
            padding_mask: bool [B, S], True on padding, whose values count as zero.

        Returns:
            [B, Q, D]
        """
        value = self.value_proj(value)
        if padding_mask is not None:
            value = value.masked_fill(padding_mask[..., None], 0.0)
        attended = self.sampling(
            value.unflatten(-1, (self.num_heads, -1)),
            shapes,
            self.locations(query, reference_points, shapes),
            self.attention_weights(query).unflatten(-1, (self.num_heads, -1)).softmax(-1),
        )
        return self.output_proj(attended)

    def locations(
        self, query: Tensor, reference_points: Tensor, shapes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Return where the heads look, [B, Q, M, P, 2] as x, y in 0..1 of the padded level.

        Offsets count pixels around a point. In a box they count half its sides, divided by the
        number of points, so that all points of the start lie in the box.
        """
        dtype = torch.promote_types(query.dtype, torch.float32)
        offsets = self.sampling_offsets(query).to(dtype).unflatten(-1, (self.num_heads, -1, 2))
        references = reference_points.to(dtype)
        if references.shape[2] > 1:
            references = torch.cat(
                [
                    references[:, :, i : i + 1].expand(-1, -1, number, -1)
                    for i, number in enumerate(self.num_points)
                ],
                dim=2,
            )
        references = references[:, :, None]  # [B, Q, 1, P or 1, 2 or 4]
        if references.shape[-1] == 4:
            share = [0.5 / number for number in self.num_points for _ in range(number)]
            scale = references[..., 2:] * offsets.new_tensor(share)[:, None]
        else:
            scale = 1 / point_sizes(shapes, self.num_points, offsets)
        return references[..., :2] + offsets * scale
