"""Deformable attention as sums of rows of a table, for a CPU.

Legend: B images, Q queries, q queries of a piece (of one or more images), h w size of a level, S
pixels of all levels, T pixels of all levels with their borders, M heads, P points of all levels, D
channels of a head.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mmdetr.models.layers.deformable_attention import DeformableSampling
from mmdetr.utils.compiling import is_exporting

# Queries that are computed at once: their indices and weights then fit into a cache.
_PIECE = 1024
# Queries of whole images that share a table: small images are not worth one each.
_GROUP = 16384
# Pixels to a query from which on the plain form has the faster backward pass: the table's gradient
# costs the same for a few queries as for many.
_PIXELS_TO_A_QUERY = 4


class FastDeformableSampling(DeformableSampling):
    """One weighted sum of table rows for each query and head.

    The table holds the values with a border of zeros around each level, so that no corner of a
    point needs to be masked: a point reads four rows at fixed distances from the first. Inference
    takes 8 MiB beyond the table and the result, whatever the number of queries. Training keeps only
    the inputs, and computes indices and weights again in the backward pass.

    Under torch.compile all queries are one piece. GPUs, exported models and the training of a few
    queries on large maps take ``grid_sample``.
    """

    def forward(
        self,
        value: Tensor,
        shapes: Sequence[tuple[int, int]],
        locations: Tensor,
        weights: Tensor,
    ) -> Tensor:
        """See :func:`mmdetr.models.layers.multi_scale_deformable_attention`."""
        few = weights.shape[1] * _PIXELS_TO_A_QUERY < value.shape[1]
        trains = torch.is_grad_enabled() and any(
            each.requires_grad for each in (value, locations, weights)
        )
        if value.device.type != 'cpu' or is_exporting() or (few and trains):
            return super().forward(value, shapes, locations, weights)
        dtype = torch.promote_types(value.dtype, torch.float32)
        inputs = value.to(dtype), locations.to(dtype), weights.to(dtype)
        layout = _layout(shapes, self.num_points, value.shape[2], inputs[1])
        if torch.compiler.is_compiling():
            group = _Group(*inputs, layout)
            attended = _sum_rows(group.table, group.queries(slice(None)), layout)
            attended = attended.view(*weights.shape[:2], -1)
        else:
            attended = _Sampling.apply(*inputs, layout)
        return attended.to(value.dtype)


class _Layout(NamedTuple):
    """Where the levels of an image lie in the table; the tensors say it for each point."""

    shapes: Sequence[tuple[int, int]]
    num_pixels: int  # T
    sizes: Tensor  # [P, 2] w, h
    starts: Tensor  # int32 [P] first pixel of the level
    pitches: Tensor  # int32 [P] pixels in a row of the level, border included
    heads: Tensor  # int32 [M, 1]


def _layout(
    shapes: Sequence[tuple[int, int]], num_points: Sequence[int], num_heads: int, like: Tensor
) -> _Layout:
    sizes, starts, start = [], [], 0
    for (height, width), number in zip(shapes, num_points, strict=True):
        sizes += [(width, height)] * number
        starts += [start] * number
        start += (height + 2) * (width + 2)
    return _Layout(
        shapes,
        start,
        like.new_tensor(sizes),
        torch.tensor(starts, dtype=torch.int32),
        torch.tensor([width + 2 for width, _ in sizes], dtype=torch.int32),
        torch.arange(num_heads, dtype=torch.int32)[:, None],
    )


class _Queries(NamedTuple):
    """A piece of the queries of a group."""

    locations: Tensor  # [q, M, P, 2]
    weights: Tensor  # [q, M, P]
    images: Tensor  # int32 [q, 1, 1] first pixel of the query's image in the table


class _Group:
    """Images [b] that share a table, with their queries one after the other."""

    def __init__(self, value: Tensor, locations: Tensor, weights: Tensor, layout: _Layout) -> None:
        self.table = _table(value, layout)
        self.locations, self.weights = locations.flatten(0, 1), weights.flatten(0, 1)
        images = torch.arange(len(value), dtype=torch.int32) * layout.num_pixels
        self.images = images.repeat_interleave(weights.shape[1])[:, None, None]

    def queries(self, piece: slice) -> _Queries:
        return _Queries(self.locations[piece], self.weights[piece], self.images[piece])

    def pieces(self) -> Iterator[slice]:
        for start in range(0, len(self.weights), _PIECE):
            yield slice(start, start + _PIECE)


def _groups(batch_size: int, num_queries: int) -> Iterator[slice]:
    """Images that are computed together."""
    size = max(_GROUP // max(num_queries, 1), 1)
    for start in range(0, batch_size, size):
        yield slice(start, start + size)


def _table(value: Tensor, layout: _Layout) -> Tensor:
    """Values [b, S, M, D] -> rows [b T M, D]."""
    sizes = [height * width for height, width in layout.shapes]
    bordered = [
        F.pad(level.unflatten(1, shape), (0, 0, 0, 0, 1, 1, 1, 1)).flatten(1, 2)
        for level, shape in zip(value.split(sizes, dim=1), layout.shapes, strict=True)
    ]
    return torch.cat(bordered, dim=1).flatten(0, 2)


def _levels(table: Tensor, layout: _Layout) -> list[Tensor]:
    """Rows [b T M, D] -> views [b, h + 2, w + 2, M, D] of each level."""
    shapes = [(height + 2, width + 2) for height, width in layout.shapes]
    images = table.view(-1, layout.num_pixels, len(layout.heads), table.shape[-1])
    parts = images.split([height * width for height, width in shapes], dim=1)
    return [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]


def _corners(queries: _Queries, layout: _Layout) -> tuple[Tensor, Tensor]:
    """Return int32 rows and weights of the corners of each point, [q, M, P, 4].

    Corners are top left, top right, bottom left, bottom right.
    """
    pixels = queries.locations * layout.sizes - 0.5
    # What is outside by more than a pixel is in the border.
    inside = pixels.minimum(layout.sizes).clamp(min=-1)
    num_heads = len(layout.heads)
    with torch.no_grad():
        corner = inside.floor().minimum(layout.sizes - 1)
        # NaN has to end in the table, too; the weights keep it.
        column, row = torch.nan_to_num(corner).to(torch.int32).unbind(-1)
        first = queries.images + layout.starts + (row + 1) * layout.pitches + column + 1
        first = first * num_heads + layout.heads
        below = first + layout.pitches * num_heads
        rows = torch.stack((first, first + num_heads, below, below + num_heads), dim=-1)
    right, down = (inside - corner).unbind(-1)
    bottom = queries.weights * down
    top = queries.weights - bottom
    top_right, bottom_right = top * right, bottom * right
    return rows, torch.stack((top - top_right, top_right, bottom - bottom_right, bottom_right), -1)


def _sum_rows(table: Tensor, queries: _Queries, layout: _Layout) -> Tensor:
    """Return the results of a piece of queries, [q, M D]."""
    rows, factors = _corners(queries, layout)
    return _weighted_sums(table, rows, factors).view(len(queries.weights), -1)


def _weighted_sums(table: Tensor, rows: Tensor, factors: Tensor) -> Tensor:
    """Rows and weights [q, M, P, 4] -> [q M, D]."""
    bags, factors = (each.flatten(2).flatten(0, 1) for each in (rows, factors))
    return F.embedding_bag(bags, table, per_sample_weights=factors, mode='sum')


class _Sampling(torch.autograd.Function):
    """Sum rows piece by piece; keep the inputs alone for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, locations: Tensor, weights: Tensor, layout: _Layout
    ) -> Tensor:
        ctx.save_for_backward(value, locations, weights)
        ctx.layout = layout
        batch_size, num_queries = weights.shape[:2]
        attended = value.new_empty(batch_size, num_queries, value.shape[2] * value.shape[3])
        for images in _groups(batch_size, num_queries):
            group = _Group(value[images], locations[images], weights[images], layout)
            result = attended[images].flatten(0, 1)
            for piece in group.pieces():
                result[piece] = _sum_rows(group.table, group.queries(piece), layout)
        return attended

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, layout = ctx.saved_tensors, ctx.layout
        grads = [torch.empty_like(each) for each in inputs]
        grad = grad.contiguous()
        for images in _groups(*inputs[2].shape[:2]):
            value, locations, weights = (each[images] for each in inputs)
            group = _Group(value, locations, weights, layout)
            found = _backward(group, grad[images], layout)
            for result, part in zip(grads, found, strict=True):
                result[images] = part.view_as(result[images])
        return (*grads, None)


def _backward(group: _Group, grad: Tensor, layout: _Layout) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the values, locations and weights of a group for that of its result."""
    grad = grad.reshape(-1, group.table.shape[-1])  # [b Q M, D]
    num_heads = len(layout.heads)
    grads = [torch.empty_like(each) for each in (group.locations, group.weights)]
    firsts, corner_weights = [], []
    for piece in group.pieces():
        queries = group.queries(piece)
        leaves = [each.detach().requires_grad_() for each in queries[:2]]
        with torch.enable_grad():
            rows, factors = _corners(_Queries(leaves[0], leaves[1], queries.images), layout)
            sums = _weighted_sums(group.table, rows, factors)
        of_piece = grad[piece.start * num_heads : piece.stop * num_heads]
        for result, part in zip(grads, torch.autograd.grad(sums, leaves, of_piece), strict=True):
            result[piece] = part
        firsts.append(rows[..., 0].flatten())
        corner_weights.append(factors.detach().flatten(0, 2))
    table_grad = _table_grad(group, torch.cat(firsts), torch.cat(corner_weights), grad, layout)
    values = [level[:, 1:-1, 1:-1].flatten(1, 2) for level in _levels(table_grad, layout)]
    return torch.cat(values, dim=1), grads[0], grads[1]


def _table_grad(
    group: _Group, rows: Tensor, factors: Tensor, grad: Tensor, layout: _Layout
) -> Tensor:
    """Gradient of the table, as sums of the gradients of those who read a row.

    Points are sorted by their first row once; each of the four corners is one sum.

    Args:
        group: The images.
        rows: int32 [b Q M P] first row of each point.
        factors: [b Q M P, 4] weights of its corners.
        grad: [b Q M, D] gradient of the result.
        layout: The table's layout.
    """
    table = group.table
    rows, order = rows.sort()
    order = order.to(torch.int32)
    first = torch.searchsorted(rows, torch.arange(len(table), dtype=torch.int32), out_int32=True)
    readers = order // len(layout.sizes)
    table_grad = torch.zeros_like(table)
    for corner in range(4):
        weights = factors[:, corner].contiguous().index_select(0, order)
        sums = F.embedding_bag(readers, grad, first, per_sample_weights=weights, mode='sum')
        below, beside = divmod(corner, 2)
        for level, part in zip(_levels(table_grad, layout), _levels(sums, layout), strict=True):
            # No point has its first corner in the last row or column of the border.
            level[:, below:, beside:] += part[:, : part.shape[1] - below, : part.shape[2] - beside]
    return table_grad
