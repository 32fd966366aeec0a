"""Sizes of an image with masks, and which of its pixels a resize keeps; needs no torch."""

from typing import NamedTuple

import numpy as np
from PIL import Image

Size = tuple[int, int]


class Frame(NamedTuple):
    """Sizes (height, width) that one image has on its way.

    Attributes:
        padded: What the logits cover, the padded network input.
        resized: The network input without padding.
        original: The original image.
    """

    padded: Size
    resized: Size
    original: Size


def nearest_centred(size: int, wanted: int) -> np.ndarray:
    """Return the index, int64 [wanted], of the pixel that PIL takes as nearest of ``size``."""
    row = Image.fromarray(np.arange(size, dtype=np.int32)[None])
    return np.array(row.resize((wanted, 1), Image.Resampling.NEAREST))[0].astype(np.int64)
