"""What goes into the transformer and what comes out, for DETR and its successors.

Legend: L decoder layers, B images, N queries, S pixels of all feature maps, D channels.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from mmdetr.models.layers import DenoisingQueries, pixels_of

# (layer, hidden [B, N, D], reference points [B, N, 2 or 4]) -> reference points of the next layer.
Refine: TypeAlias = Callable[[int, Tensor, Tensor], Tensor]


class Queries(NamedTuple):
    """The object queries of a batch; a leading axis B where they differ per image.

    Attributes:
        position: [N, D] or [B, N, D] what a query looks for; DETR's learned object queries.
        content: [N, D] or [B, N, D] what the decoder's stream starts with; None starts it at zero.
        reference_points: [N, 2 or 4] or [B, N, 2 or 4] in 0..1 of the unpadded image, for decoders
            that refine boxes layer by layer.
        self_attn_mask: Over [B, heads, N, N], bool with True where a query may see another; keeps
            denoising queries apart.
        denoising: What the first of the N queries stand for, if they are denoising queries; the
            head splits their predictions off.
    """

    position: Tensor | None = None
    content: Tensor | None = None
    reference_points: Tensor | None = None
    self_attn_mask: Tensor | None = None
    denoising: DenoisingQueries | None = None


class TransformerOutput(NamedTuple):
    """What a transformer returns.

    Attributes:
        hidden: [L, B, N, D] normalised outputs of the decoder layers; L = 1 for the last alone.
        reference_points: [L, B, N, 2 or 4] reference points that each of these layers worked with;
            None where the decoder has none.
        memory: [B, S, D] output of the encoder, the pixels of all maps in order.
    """

    hidden: Tensor
    reference_points: Tensor | None
    memory: Tensor

    def points(self) -> Tensor:
        """Return the reference points, for a head that cannot do without.

        Raises:
            ValueError: The decoder has none.
        """
        if self.reference_points is None:
            raise ValueError(
                'the head needs reference points, which transformer.decoder does not give: set it '
                'to ConditionalDecoder or AnchorDecoder, as the head wants'
            )
        return self.reference_points


class Memory(NamedTuple):
    """The pixels of several feature maps (levels), and where they are.

    Attributes:
        tokens: [B, S, D] the levels one after the other, each in reading order.
        shapes: (h, w) of each level.
        padding_mask: bool [B, S], True on padding; None when nothing is padded.
        centres: float32 [B, S, 2] x, y of the pixels in 0..1 of the unpadded image.
        valid_ratios: float32 [B, levels, 2] unpadded part of the width and height of each level.

    Source: Deformable DETR, authors' code.
    """

    tokens: Tensor
    shapes: Sequence[tuple[int, int]]
    padding_mask: Tensor | None
    centres: Tensor
    valid_ratios: Tensor

    @classmethod
    def of(cls, features: Sequence[Tensor], padding_masks: Sequence[Tensor | None]) -> 'Memory':
        """Join maps [B, D, h, w] with their padding masks bool [B, h, w] or None."""
        shapes = [(each.shape[2], each.shape[3]) for each in features]
        masks = [
            each.new_zeros((each.shape[0], *shape), dtype=torch.bool) if mask is None else mask
            for each, mask, shape in zip(features, padding_masks, shapes, strict=True)
        ]
        padding_mask = None
        if padding_masks[0] is not None:
            padding_mask = torch.cat([mask.flatten(1) for mask in masks], dim=1)
        sizes = [_valid_size(mask) for mask in masks]
        ratios = [
            torch.stack((size[:, 0] / width, size[:, 1] / height), dim=-1)
            for size, (height, width) in zip(sizes, shapes, strict=True)
        ]
        return cls(
            tokens=torch.cat([pixels_of(each) for each in features], dim=1),
            shapes=shapes,
            padding_mask=padding_mask,
            centres=torch.cat(
                [_centres(*shape, size) for shape, size in zip(shapes, sizes, strict=True)], dim=1
            ),
            valid_ratios=torch.stack(ratios, dim=1),
        )

    def on_levels(self, references: Tensor) -> Tensor:
        """Points or boxes [B, N, 2 or 4] of the unpadded image -> [B, N, levels, 2 or 4] of each
        padded level."""
        times = references.shape[-1] // 2
        return references[:, :, None] * self.valid_ratios[:, None].repeat(1, 1, 1, times)


def _valid_size(mask: Tensor) -> Tensor:
    """bool [B, h, w] -> float32 [B, 2], width and height of what is not padded."""
    valid = ~mask
    return torch.stack((valid[:, 0].sum(1), valid[:, :, 0].sum(1)), dim=-1).float()


def _centres(height: int, width: int, valid_size: Tensor) -> Tensor:
    """Centres of the pixels of a map, [B, h w, 2] in 0..1 of ``valid_size`` [B, 2]."""
    rows = torch.arange(height, device=valid_size.device) + 0.5
    columns = torch.arange(width, device=valid_size.device) + 0.5
    y, x = torch.meshgrid(rows, columns, indexing='ij')
    return torch.stack((x, y), dim=-1).flatten(0, 1) / valid_size[:, None]
