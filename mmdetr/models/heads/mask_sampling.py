"""Mask logits at the pixels of the original image, without the size of the network input between.

Legend: P queries, h w size of the logits, H W size of the original image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmdetr.utils.mask_frame import Frame, nearest_centred


class Axis(NamedTuple):
    """Where the pixels of one side of the original lie between the logits.

    Attributes:
        lower: int64 [H] index of the logit before a pixel.
        upper: int64 [H] index of the one after it, or the same at the edge.
        weight: float32 [H] weight of the upper one.
    """

    lower: Tensor
    upper: Tensor
    weight: Tensor

    def part(self, start: int, stop: int) -> 'Axis':
        """Return the pixels start..stop-1."""
        return Axis(*(each[start:stop] for each in self))

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Return the range of pixels that the logits first..last have a part in."""
        # ``lower`` and ``upper`` never fall.
        start = torch.searchsorted(self.upper, first)
        stop = torch.searchsorted(self.lower, last, right=True)
        return int(start), int(stop)

    def matrix(self, size: int) -> Tensor:
        """Interpolation as a product: float32 [size, H], two entries in each column."""
        matrix = self.weight.new_zeros(size, len(self.lower))
        pixel = torch.arange(len(self.lower), device=matrix.device)
        matrix[self.lower, pixel] = 1 - self.weight
        matrix[self.upper, pixel] += self.weight
        return matrix


class MaskSampler:
    """Enlarge logits of one image bilinearly to the padded input, cut, resize by nearest pixel.

    Only the values that the last step keeps are computed, and they are the same.

    Args:
        size: (h, w).
        frame: Sizes of the image.
        centred: Which pixel is nearest: as PIL counts, from the centres, or as torch does.
        device: Where the logits are.

    Source: post-processing of the authors' code, which keeps each step's whole result.
    """

    def __init__(
        self, size: Sequence[int], frame: Frame, centred: bool, device: torch.device
    ) -> None:
        self.rows, self.columns = (
            _axis(_kept_pixels(cut, wanted, centred), low, full, device)
            for low, full, cut, wanted in zip(size, *frame, strict=True)
        )
        self.original = frame.original
        self._row_matrix = self.rows.matrix(size[0])

    def logits(self, logits: Tensor) -> Tensor:
        """Logits [P, h, w] -> [P, W, H]: columns first, as COCO's run-length codes count pixels."""
        return _interpolate(logits.transpose(1, 2), self.columns, self._row_matrix)

    def mask(self, logits: Tensor) -> Tensor:
        """Logits [h, w] of one query -> uint8 [W, H], 1 where they are above zero.

        Where all logits around a pixel are below zero, so is what is interpolated between them:
        only the pixels about the others are computed.
        """
        width, height = len(self.columns.lower), len(self.rows.lower)
        mask = torch.zeros(width, height, dtype=torch.uint8, device=logits.device)
        above = logits > 0
        rows, columns = (above.any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
        if rows:
            left, right = self.columns.span(columns[0], columns[-1])
            top, bottom = self.rows.span(rows[0], rows[-1])
            part = _interpolate(
                logits.t()[None],
                self.columns.part(left, right),
                self._row_matrix[:, top:bottom],
            )
            mask[left:right, top:bottom] = part[0] > 0
        return mask


def _interpolate(logits: Tensor, columns: Axis, row_matrix: Tensor) -> Tensor:
    """Logits [P, w, h] -> [P, W, H]."""
    logits = logits.float().contiguous()
    lower, upper = (logits.index_select(1, index) for index in columns[:2])
    return torch.lerp(lower, upper, columns.weight[:, None]) @ row_matrix


def _kept_pixels(size: int, wanted: int, centred: bool) -> Tensor:
    """Index [wanted] of the pixel that is nearest of ``size``, see MaskSampler."""
    if centred:
        return torch.from_numpy(nearest_centred(size, wanted))
    index = torch.arange(size, dtype=torch.float32)[None, None]
    return torch.nn.functional.interpolate(index, size=wanted)[0, 0].long()


def _axis(kept: Tensor, size: int, full: int, device: torch.device) -> Axis:
    """Places of the pixels ``kept`` of an axis of ``full`` pixels, interpolated from ``size``."""
    scale = torch.tensor(size / full, dtype=torch.float32)
    place = (scale * (kept + 0.5) - 0.5).clamp(min=0)
    lower = place.long().clamp(max=size - 1)
    upper = (lower + 1).clamp(max=size - 1)
    return Axis(*(each.to(device) for each in (lower, upper, place - lower)))
