"""What masks add to both sides of set prediction.

Legend: B images, N queries, M objects of one image, P matched pairs of one image, D channels, h w
size of the last feature map, H W size of the padded input.
"""

import dataclasses
from collections.abc import Sequence

from torch import Tensor

from .set_types import UNPADDED, SetPrediction, SetTarget


@dataclasses.dataclass(frozen=True)
class MaskTarget(SetTarget):
    """The objects of one image with their masks.

    Attributes:
        masks: bool [M, ...] over the resized image before padding; None in a padded record.
    """

    masks: Tensor | None = dataclasses.field(default=None, metadata=UNPADDED)


@dataclasses.dataclass(frozen=True)
class MaskInputs:
    """What the masks of a batch are computed from.

    No part of what :meth:`SetPrediction.map` reaches: the maps are large.

    Attributes:
        hidden: [B, N, D] output of the last decoder layer.
        memory: [B, D, h, w] output of the encoder.
        features: [B, D, h, w] the projected last map of the backbone.
        maps: The other maps of the backbone, finest first.
        padding_mask: bool [B, h, w], True on padding; None when nothing is padded.
    """

    hidden: Tensor
    memory: Tensor
    features: Tensor
    maps: Sequence[Tensor]
    padding_mask: Tensor | None


@dataclasses.dataclass(frozen=True)
class MaskPrediction(SetPrediction):
    """Classes and boxes of every layer, masks of the last one.

    Attributes:
        masks: [B, N, H / 4, W / 4] logits over the padded input; None where only some queries'
            masks are wanted, which ``mask_inputs`` are for.
        mask_inputs: What masks are computed from; None beside ``masks``.
        matched_masks: Logits [P, H / 4, W / 4] of each image's matched queries, in training.
        padded_size: (H, W); None where nothing is padded.
    """

    masks: Tensor | None = None
    mask_inputs: MaskInputs | None = None
    matched_masks: list[Tensor] | None = None
    padded_size: tuple[int, int] | None = None
