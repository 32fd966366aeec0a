"""The two sides of set prediction: what the head predicts and what the criterion compares with.

Legend: L decoder layers, B images, N queries, K classes, M objects of one image.
"""

from typing import NamedTuple

from torch import Tensor


class SetPrediction(NamedTuple):
    """Raw output of the head, one set of N predictions per image and decoder layer.

    Attributes:
        logits: [L, B, N, K + 1] unnormalised class scores; the last class is no-object.
        bboxes: [L, B, N, 4] cxcywh in 0..1 of the unpadded image.
    """

    logits: Tensor
    bboxes: Tensor


class SetTarget(NamedTuple):
    """The objects of one image as the criterion wants them.

    Attributes:
        labels: [M] int64 in 0..K-1.
        bboxes: [M, 4] float32 cxcywh in 0..1 of the unpadded image.
    """

    labels: Tensor
    bboxes: Tensor
