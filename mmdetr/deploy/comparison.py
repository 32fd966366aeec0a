"""How far the output of an exported file may be from the model's, and how far it is.

Legend: B images, N queries, K classes, h w size of masks, n m detections of an image.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from .detections import ImageDetections, PanopticSegments

Size = tuple[int, int]
Arrays = Mapping[str, np.ndarray]
_OTHER = 1e9  # the cost of pairing detections of different labels


class Tolerance(NamedTuple):
    """Largest differences that pass.

    Attributes:
        logits: Of a class logit.
        bboxes: Of a coordinate in 0..1, and of one in pixels by the longer side of its image.
        scores: Of a probability.
        masks: Of a mask logit; above zero is in the mask.
        pixels: Share of the image's pixels that are in one of two masks alone, or of another class
            of a panoptic segmentation.
    """

    logits: float
    bboxes: float
    scores: float
    masks: float
    pixels: float


TOLERANCES = {
    'float32': Tolerance(logits=1e-4, bboxes=1e-4, scores=1e-4, masks=1e-3, pixels=1e-3),
    'float16': Tolerance(logits=0.1, bboxes=5e-3, scores=1e-2, masks=0.5, pixels=2e-2),
}


class Difference(NamedTuple):
    """What one comparison found.

    Attributes:
        what: ``'logits'``, ``'bboxes'`` and ``'mask logits'`` of raw outputs; ``'scores'``,
            ``'boxes'`` (by the longer side of the image), ``'mask pixels'``, ``'panoptic pixels'``
            and ``'number of ...'`` of detections.
        size: (B, H, W) of the input, or (height, width) of the image.
        largest: Largest difference.
        allowed: Its tolerance.
    """

    what: str
    size: tuple[int, ...]
    largest: float
    allowed: float


def compare_predictions(
    theirs: Arrays, ours: Arrays, size: tuple[int, ...], tolerance: Tolerance
) -> Iterator[Difference]:
    """Compare raw outputs as sets: proposals of nearly equal score may change places.

    Args:
        theirs: ``logits`` [B, N, K], ``bboxes`` [B, N, 4] and, if there are masks, ``masks``
            [B, N, h, w] of torch.
        ours: Those of the file.
        size: For the report.
        tolerance: What is allowed.
    """
    units = dict(logits=tolerance.logits, bboxes=tolerance.bboxes)
    yield _not_finite(ours, size)
    rows = [
        np.concatenate([each[name] / unit for name, unit in units.items()], -1)
        for each in (theirs, ours)
    ]
    order = [
        linear_sum_assignment(cdist(*pair, 'chebyshev'))[1] for pair in zip(*rows, strict=True)
    ]
    if 'masks' in theirs:
        units['masks'] = tolerance.masks
    for name, unit in units.items():
        matched = np.stack([each[i] for each, i in zip(ours[name], order, strict=True)])
        what = 'mask logits' if name == 'masks' else name
        yield Difference(what, size, float(np.abs(theirs[name] - matched).max()), unit)


def compare_detections(
    theirs: ImageDetections,
    ours: ImageDetections,
    size: Size,
    tolerance: Tolerance,
    mask_logits: Sequence[np.ndarray] = (),
) -> Iterator[Difference]:
    """Compare the detections of an image as sets.

    A detection whose score is within the tolerance of the lowest one may be missing: where the best
    pairs of query and class are taken, rounding decides about the last.

    Args:
        theirs: [n] of torch.
        ours: [m] of the file.
        size: (height, width) of the image.
        tolerance: What is allowed.
        mask_logits: Of theirs and of ours, [n, h, w]; empty where there are none.
    """
    if len(theirs) != len(ours):
        yield Difference('number of detections', size, abs(len(theirs) - len(ours)), 0)
        return
    yield _not_finite(dict(scores=ours.scores, boxes=ours.boxes), size)
    scores = np.abs(theirs.scores[:, None] - ours.scores)
    boxes = cdist(theirs.boxes, ours.boxes, 'chebyshev') / max(size)
    other = theirs.labels[:, None] != ours.labels
    cost = np.maximum(scores / tolerance.scores, boxes / tolerance.bboxes) + _OTHER * other
    pairs = linear_sum_assignment(cost)
    sure = theirs.scores[pairs[0]] > theirs.scores.min(initial=1) + tolerance.scores
    sure |= cost[pairs] < 1
    kept = tuple(each[sure] for each in pairs)
    yield Difference('number of other labels', size, float(other[kept].sum()), 0)
    yield Difference('scores', size, float(scores[kept].max(initial=0)), tolerance.scores)
    yield Difference('boxes', size, float(boxes[kept].max(initial=0)), tolerance.bboxes)
    if mask_logits:
        differences = np.abs(mask_logits[0][kept[0]] - mask_logits[1][kept[1]])
        largest = float(differences.max(initial=0))
        yield Difference('mask logits', size, largest, tolerance.masks)
    yield from _compare_pixels(theirs, ours, kept, size, tolerance.pixels)


def _compare_pixels(
    theirs: ImageDetections,
    ours: ImageDetections,
    pairs: Sequence[np.ndarray],
    size: Size,
    allowed: float,
) -> Iterator[Difference]:
    """Compare the masks of pairs of detections, and the classes of pixels."""
    if theirs.masks is not None and ours.masks is not None:
        codes = [(theirs.masks[i], ours.masks[j]) for i, j in zip(*pairs, strict=True)]
        shares = [(np.not_equal(*map(coco_mask.decode, each))).mean() for each in codes]
        yield Difference('mask pixels', size, float(max(shares, default=0)), allowed)
    if theirs.panoptic is not None and ours.panoptic is not None:
        classes = [_classes(each.panoptic) for each in (theirs, ours) if each.panoptic]
        share = float(np.not_equal(*classes).mean())
        yield Difference('panoptic pixels', size, share, allowed)


def _classes(panoptic: PanopticSegments) -> np.ndarray:
    """Class of each pixel, -1 where there is none."""
    labels = [-1] + [-1] * int(panoptic.ids.max(initial=0))
    for each in panoptic.segments:
        labels[each['id']] = each['label']
    return np.array(labels)[panoptic.ids]


def _not_finite(arrays: Arrays, size: tuple[int, ...]) -> Difference:
    """Half precision overflows, and what is no number cannot be compared."""
    count = sum(int((~np.isfinite(each)).sum()) for each in arrays.values())
    return Difference('number of infinite or undefined values', size, count, 0)
