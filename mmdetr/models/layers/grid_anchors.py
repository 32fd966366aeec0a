"""A box for each pixel of each feature map."""

from collections.abc import Sequence

import torch
from torch import Tensor


def grid_anchors(
    shapes: Sequence[tuple[int, int]], device: torch.device | None = None, size: float = 0.05
) -> Tensor:
    """Return boxes centred in the pixels of feature maps that cover the whole image.

    Args:
        shapes: Height and width of each map, finest first.
        device: Where the boxes are wanted.
        size: Width and height of the boxes of the first map; those of the next are twice as large.

    Returns:
        float32 [S, 4] cxcywh in 0..1, S pixels of all maps in order.

    Example:
        >>> grid_anchors([(1, 2)]).tolist()
        [[0.25, 0.5, 0.05000000074505806, 0.05000000074505806], \
[0.75, 0.5, 0.05000000074505806, 0.05000000074505806]]

    Source: Deformable DETR, appendix A.4.
    """
    levels = []
    for i, (height, width) in enumerate(shapes):
        y = (torch.arange(height, dtype=torch.float32, device=device) + 0.5) / height
        x = (torch.arange(width, dtype=torch.float32, device=device) + 0.5) / width
        rows, columns = torch.meshgrid(y, x, indexing='ij')
        sides = torch.full_like(rows, size * 2.0**i)
        levels.append(torch.stack((columns, rows, sides, sides), dim=-1).flatten(0, 1))
    return torch.cat(levels)
