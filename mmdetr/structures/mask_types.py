"""What masks add to both sides of set prediction.

Legend: L decoder layers, B images, N queries, M objects of one image, h w size of one image.
"""

import dataclasses

from torch import Tensor

from .set_types import UNPADDED, SetPrediction, SetTarget


@dataclasses.dataclass(frozen=True)
class MaskTarget(SetTarget):
    """The objects of one image with their masks.

    Attributes:
        masks: bool [M, h, w] in the frame of the resized image, before padding; None in a padded
            record.
    """

    masks: Tensor | None = dataclasses.field(default=None, metadata=UNPADDED)


@dataclasses.dataclass(frozen=True)
class MaskPrediction(SetPrediction):
    """Classes and boxes of every layer, masks of the last one.

    Attributes:
        masks: [B, N, H / 4, W / 4] logits over the padded input; None where they are not computed.
    """

    masks: Tensor | None = None
