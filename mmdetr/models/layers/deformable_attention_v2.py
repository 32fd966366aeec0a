"""Deformable attention of RT-DETRv2: each level has its own number of points.

Legend: B images, N queries, S pixels of all maps, D channels, M heads, P points of all levels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Shapes = Sequence[tuple[int, int]]

_SAMPLINGS = ('bilinear', 'discrete')


class DeformableAttentionV2(nn.Module):
    """Attend to a few points of each feature map, placed around a reference box.

    A point lies at ``centre + offset / n * size / 2``, n the number of points of its level.

    Args:
        embed_dims: D.
        num_heads: M; divides D.
        num_points: Points of each level and head.
        sampling: ``'bilinear'``, or ``'discrete'`` for the pixel that the point lies in, which
            needs no ``grid_sample`` where a model is deployed; the offsets are not trained then.
        projected: Project values and output; D-FINE does not.

    Raises:
        ValueError: D is no multiple of M, or ``sampling`` is another word.

    Source: RT-DETRv2, sections 3.1 and 3.2. With the same number of points in each level it is
        the attention of Deformable DETR and of RT-DETR's first version.
    """

    offset_scale: Tensor

    def __init__(
        self,
        embed_dims: int,
        num_heads: int = 8,
        num_points: Sequence[int] = (4, 4, 4),
        sampling: str = 'bilinear',
        projected: bool = True,
    ) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(f'embed_dims {embed_dims} is not a multiple of num_heads {num_heads}')
        if sampling not in _SAMPLINGS:
            raise ValueError(f'sampling must be one of {_SAMPLINGS}, not {sampling!r}')
        self.num_heads = num_heads
        self.num_points = tuple(num_points)
        self.sampling = sampling
        total = num_heads * sum(num_points)
        self.sampling_offsets = nn.Linear(embed_dims, total * 2)
        self.attention_weights = nn.Linear(embed_dims, total)
        self.value_proj: nn.Module = nn.Identity()
        self.output_proj: nn.Module = nn.Identity()
        if projected:
            self.value_proj = nn.Linear(embed_dims, embed_dims)
            self.output_proj = nn.Linear(embed_dims, embed_dims)
        share = torch.cat([torch.full((n,), 0.5 / n) for n in num_points])
        # Not persistent: a constant of the config, no part of the weights.
        self.register_buffer('offset_scale', share[:, None], persistent=False)
        self._init_weights()
        if sampling == 'discrete':
            self.sampling_offsets.requires_grad_(False)

    def _init_weights(self) -> None:
        """Point heads into different directions and the points of a level ever further."""
        nn.init.zeros_(self.sampling_offsets.weight)
        angles = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        directions = torch.stack((angles.cos(), angles.sin()), dim=-1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        steps = torch.cat([torch.arange(1, n + 1) for n in self.num_points])
        bias = directions[:, None] * steps[:, None]  # [M, P, 2]
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(bias.flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            if isinstance(projection, nn.Linear):
                nn.init.xavier_uniform_(projection.weight)
                nn.init.zeros_(projection.bias)

    def forward(self, query: Tensor, bboxes: Tensor, memory: Tensor, shapes: Shapes) -> Tensor:
        """Attend.

        Args:
            query: [B, N, D].
            bboxes: [B, N, 4] reference boxes, cxcywh in 0..1.
            memory: [B, S, D] pixels of all maps, one map after the other.
            shapes: Height and width of each map.

        Returns:
            [B, N, D]
        """
        heads = (self.num_heads, sum(self.num_points))
        offsets = self.sampling_offsets(query).unflatten(-1, (*heads, 2))
        weights = self.attention_weights(query).unflatten(-1, heads).softmax(-1)
        scale = self.offset_scale.to(query.dtype)
        centre, size = bboxes[:, :, None, None].split(2, dim=-1)
        locations = centre + offsets * scale * size  # [B, N, M, P, 2]
        value = self.value_proj(memory).unflatten(-1, (self.num_heads, -1))
        sample = sample_bilinear if self.sampling == 'bilinear' else sample_discrete
        attended = sample(value, shapes, locations, weights, self.num_points)
        return self.output_proj(attended)


def sample_bilinear(
    value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor, num_points: Sequence[int]
) -> Tensor:
    """Weighted sum of values interpolated at points; zero outside of a map.

    Args:
        value: [B, S, M, D / M].
        shapes: Height and width of each map.
        locations: [B, N, M, P, 2] x and y in 0..1.
        weights: [B, N, M, P].
        num_points: Points of each level, P in all.

    Returns:
        [B, N, D]
    """
    batch_size, _, num_heads, width = value.shape
    num_queries = locations.shape[1]
    grids = (2 * locations - 1).transpose(1, 2).flatten(0, 1).split(list(num_points), dim=2)
    parts = weights.transpose(1, 2).flatten(0, 1)[:, None].split(list(num_points), dim=-1)
    maps = value.permute(0, 2, 3, 1).flatten(0, 1)  # [B M, D / M, S]
    output: Tensor | float = 0.0
    levels = maps.split([height * width for height, width in shapes], dim=-1)
    for level, shape, grid, part in zip(levels, shapes, grids, parts, strict=True):
        sampled = F.grid_sample(
            level.unflatten(-1, tuple(shape)), grid, align_corners=False
        )  # [B M, D / M, N, points]
        output = output + (sampled * part).sum(-1)
    assert isinstance(output, Tensor)
    output = output.view(batch_size, num_heads * width, num_queries)
    return output.transpose(1, 2)


def sample_discrete(
    value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor, num_points: Sequence[int]
) -> Tensor:
    """Weighted sum of the values of single pixels, as :func:`sample_bilinear`.

    Source: RT-DETRv2, section 3.2. As in the authors' code, a point counts as half a pixel further
        right and down than in bilinear sampling, and both coordinates are clamped to the height of
        the map; for square maps that is the map itself.
    """
    batch_size, _, num_heads, width = value.shape
    num_queries = locations.shape[1]
    points = locations.transpose(1, 2).split(list(num_points), dim=3)  # [B, M, N, points, 2]
    start, indices = 0, []
    for (height, columns), level in zip(shapes, points, strict=True):
        size = level.new_tensor((columns, height))
        x, y = (level * size + 0.5).long().clamp(0, height - 1).unbind(-1)
        indices.append(start + y * columns + x)
        start += height * columns
    index = torch.cat(indices, dim=-1).flatten(2)  # [B, M, N P]
    rows = value.transpose(1, 2)  # [B, M, S, D / M]
    sampled = rows.gather(2, index[..., None].expand(-1, -1, -1, width))
    sampled = sampled.unflatten(2, (num_queries, -1)) * weights.transpose(1, 2)[..., None]
    return sampled.sum(3).permute(0, 2, 1, 3).reshape(batch_size, num_queries, num_heads * width)
