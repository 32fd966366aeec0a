"""Deformable attention as sums of rows of a table, for a CPU.

Legend: B images, Q queries, q queries of a piece, h w size of a level, S pixels of all levels, M
heads, P points of all levels, D channels of a head, R rows of the table of one image.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mmdetr.models.layers.deformable_attention import DeformableSampling

# Queries that are computed at once: their indices and weights then fit into a cache.
_PIECE = 1024


class FastDeformableSampling(DeformableSampling):
    """One weighted sum of table rows for each query and head.

    The table holds the values with a border of zeros around each level, so that no corner of a
    point needs to be masked: a point reads four rows at fixed distances from the first. Inference
    takes 8 MiB beyond the table and the result, whatever the number of queries. Training keeps only
    the inputs, and computes indices and weights again in the backward pass.

    Under torch.compile all queries are one piece. GPUs and exported models take ``grid_sample``.
    """

    def forward(
        self,
        value: Tensor,
        shapes: Sequence[tuple[int, int]],
        locations: Tensor,
        weights: Tensor,
    ) -> Tensor:
        """See :func:`mmdetr.models.layers.multi_scale_deformable_attention`."""
        if value.device.type != 'cpu' or _is_exporting():
            return super().forward(value, shapes, locations, weights)
        dtype = torch.promote_types(value.dtype, torch.float32)
        inputs = value.to(dtype), locations.to(dtype), weights.to(dtype)
        layout = _layout(shapes, self.num_points, value.shape[2], inputs[1])
        if torch.compiler.is_compiling():
            images = zip(*(each.unbind() for each in inputs), strict=True)
            attended = torch.stack(
                [_sum_rows(_table(v, layout), x, w, layout) for v, x, w in images]
            )
        else:
            attended = _Sampling.apply(*inputs, layout)
        return attended.to(value.dtype)


def _is_exporting() -> bool:
    # torch 2.6 has no torch.compiler.is_exporting.
    is_exporting = getattr(torch.compiler, 'is_exporting', lambda: False)
    return torch.onnx.is_in_onnx_export() or is_exporting() or torch.jit.is_tracing()


class _Layout(NamedTuple):
    """Where the levels lie in the table; the tensors say it for each point."""

    shapes: Sequence[tuple[int, int]]
    sizes: Tensor  # [P, 2] w, h
    starts: Tensor  # int32 [P] first row of the level, in pixels
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
    pitches = [width + 2 for width, _ in sizes]
    return _Layout(
        shapes,
        like.new_tensor(sizes),
        torch.tensor(starts, dtype=torch.int32),
        torch.tensor(pitches, dtype=torch.int32),
        torch.arange(num_heads, dtype=torch.int32)[:, None],
    )


def _table(value: Tensor, layout: _Layout) -> Tensor:
    """Values of one image [S, M, D] -> [R, D], R = M times the pixels of the bordered levels."""
    sizes = [height * width for height, width in layout.shapes]
    bordered = [
        F.pad(level.unflatten(0, shape), (0, 0, 0, 0, 1, 1, 1, 1)).flatten(0, 2)
        for level, shape in zip(value.split(sizes), layout.shapes, strict=True)
    ]
    return torch.cat(bordered)


def _values(table: Tensor, layout: _Layout) -> Tensor:
    """Inverse of :func:`_table`: [R, D] -> [S, M, D]."""
    num_heads = len(layout.heads)
    levels, start = [], 0
    for height, width in layout.shapes:
        stop = start + (height + 2) * (width + 2) * num_heads
        level = table[start:stop].view(height + 2, width + 2, num_heads, -1)
        levels.append(level[1:-1, 1:-1].flatten(0, 1))
        start = stop
    return torch.cat(levels)


def _corners(locations: Tensor, weights: Tensor, layout: _Layout) -> tuple[Tensor, Tensor]:
    """Locations [q, M, P, 2], weights [q, M, P] -> rows int32 and weights of corners [q, M, P, 4].

    Corners are top left, top right, bottom left, bottom right.
    """
    pixels = locations * layout.sizes - 0.5
    # Outside by more than a pixel is in the border. NaN has to end in the table, too.
    inside = pixels.minimum(layout.sizes).clamp(min=-1)
    with torch.no_grad():
        corner = inside.floor().minimum(layout.sizes - 1)
        column, row = torch.nan_to_num(corner).to(torch.int32).unbind(-1)
        first = layout.starts + (row + 1) * layout.pitches + column + 1
        first = first * len(layout.heads) + layout.heads
        below = first + layout.pitches * len(layout.heads)
        rows = torch.stack(
            (first, first + len(layout.heads), below, below + len(layout.heads)), dim=-1
        )
    right, down = (inside - corner).unbind(-1)
    bottom = weights * down
    top = weights - bottom
    top_right, bottom_right = top * right, bottom * right
    return rows, torch.stack((top - top_right, top_right, bottom - bottom_right, bottom_right), -1)


def _sum_rows(table: Tensor, locations: Tensor, weights: Tensor, layout: _Layout) -> Tensor:
    """Table [R, D], locations [q, M, P, 2], weights [q, M, P] -> [q, M D]."""
    rows, factors = _corners(locations, weights, layout)
    bags = rows.flatten(2).flatten(0, 1), factors.flatten(2).flatten(0, 1)
    sums = F.embedding_bag(bags[0], table, per_sample_weights=bags[1], mode='sum')
    return sums.view(len(locations), -1)


class _Sampling(torch.autograd.Function):
    """Sum rows piece by piece, image by image; keep the inputs alone for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, locations: Tensor, weights: Tensor, layout: _Layout
    ) -> Tensor:
        ctx.save_for_backward(value, locations, weights)
        ctx.layout = layout
        batch_size, num_queries = weights.shape[:2]
        attended = value.new_empty(batch_size, num_queries, value.shape[2] * value.shape[3])
        for image in range(batch_size):
            table = _table(value[image], layout)
            for piece in _pieces(num_queries):
                attended[image, piece] = _sum_rows(
                    table, locations[image, piece], weights[image, piece], layout
                )
        return attended

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, layout = ctx.saved_tensors, ctx.layout
        grads = tuple(torch.empty_like(each) for each in inputs)
        for value, locations, weights, grad_out, *image_grads in zip(
            *inputs, grad, *grads, strict=True
        ):
            table = _table(value, layout)
            rows, factors = [], []
            for piece in _pieces(len(locations)):
                with torch.enable_grad():
                    leaves = [
                        each[piece].detach().requires_grad_() for each in (locations, weights)
                    ]
                    piece_rows, piece_factors = _corners(leaves[0], leaves[1], layout)
                    sums = F.embedding_bag(
                        piece_rows.flatten(2).flatten(0, 1),
                        table,
                        per_sample_weights=piece_factors.flatten(2).flatten(0, 1),
                        mode='sum',
                    )
                found = torch.autograd.grad(sums, leaves, grad_out[piece].reshape(sums.shape))
                for result, part in zip(image_grads[1:], found, strict=True):
                    result[piece] = part
                rows.append(piece_rows[..., 0].flatten())
                factors.append(piece_factors.detach().flatten(0, 2))
            table_grad = _table_grad(torch.cat(rows), torch.cat(factors), grad_out, table, layout)
            image_grads[0].copy_(_values(table_grad, layout))
        return (*grads, None)


def _pieces(num_queries: int) -> list[slice]:
    return [slice(i, i + _PIECE) for i in range(0, num_queries, _PIECE)]


def _table_grad(
    rows: Tensor, factors: Tensor, grad: Tensor, table: Tensor, layout: _Layout
) -> Tensor:
    """Gradient of the table, as sums of the gradients of those who read a row.

    Points are sorted by their first row once; each of the four corners is one sum.

    Args:
        rows: int32 [Q M P] first row of each point.
        factors: [Q M P, 4] weights of its corners.
        grad: [Q, M D] gradient of the result.
        table: [R, D].
        layout: The table's layout.
    """
    num_heads, num_points = len(layout.heads), len(layout.sizes)
    rows, order = rows.sort()
    order = order.to(torch.int32)
    first = torch.searchsorted(rows, torch.arange(len(table), dtype=torch.int32), out_int32=True)
    readers = order // num_points
    grad = grad.reshape(-1, table.shape[1])
    table_grad = torch.zeros_like(table)
    for corner in range(4):
        sums = F.embedding_bag(
            readers,
            grad,
            first,
            per_sample_weights=factors[:, corner].contiguous().index_select(0, order),
            mode='sum',
        )
        start = 0
        for height, width in layout.shapes:
            stop = start + (height + 2) * (width + 2) * num_heads
            step = (corner // 2 * (width + 2) + corner % 2) * num_heads
            table_grad[start + step : stop] += sums[start : stop - step]
            start = stop
    return table_grad
