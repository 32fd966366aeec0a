"""A panoptic segmentation: every pixel of an image belongs to one segment at most.

Legend: K classes, H W size of the original image.
"""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np


class PanopticSegment(TypedDict):
    """What is known of one segment.

    ``id`` is its number in the map, from 1 on, ``label`` its class in 0..K-1, ``isthing`` whether
    the class is countable, ``area`` its pixels in the original image and ``score`` the probability
    of its class.
    """

    id: int
    label: int
    isthing: bool
    area: int
    score: float


@dataclass(frozen=True)
class PanopticResult:
    """The segments of one image.

    Attributes:
        ids: int32 [H, W], the number of each pixel's segment; 0 is unlabelled.
        segments: The segments whose numbers occur.
    """

    ids: np.ndarray
    segments: list[PanopticSegment]
