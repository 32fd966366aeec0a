"""Measure the operating point of a detector, and how far its scores can be believed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmdetr.utils.operating_point import ClassPoint, OperatingPoint

from .matching import MatchedDetections


def measure_operating_point(
    matched: MatchedDetections, names: Sequence[str], num_images: int, iou: float = 0.5
) -> OperatingPoint:
    """Find the thresholds of the best F1, of each class and of all classes together.

    Args:
        matched: Detections of a validation, matched at ``iou``.
        names: Of the K classes.
        num_images: Images of the validation.
        iou: That of the matching, to be stated.
    """
    points = []
    for k, name in enumerate(names):
        chosen = matched.labels == k
        point = best_f1(
            matched.scores[chosen], matched.correct[chosen], int(matched.num_objects[k]), name
        )
        points += [point] if point else []
    everything = best_f1(matched.scores, matched.correct, int(matched.num_objects.sum()), 'all')
    return OperatingPoint(everything, tuple(points) if everything else (), iou, num_images)


def best_f1(
    scores: np.ndarray, correct: np.ndarray, num_objects: int, name: str
) -> ClassPoint | None:
    """Find the threshold of the best F1; of several that are equally good, the highest.

    It lies halfway between the lowest score that is kept and the next lower one, so that rounding
    in another program does not move a detection to the other side.

    Args:
        scores: [N].
        correct: [N] bool.
        num_objects: What could have been found.
        name: Name of the result.

    Returns:
        None where no detection is right, so that any threshold is as good as another.
    """
    order = np.argsort(-scores, kind='stable')
    scores, right = scores[order], np.cumsum(correct[order])
    if not len(scores) or right[-1] == 0:
        return None
    ends = np.flatnonzero(np.r_[scores[1:] != scores[:-1], True])  # equal scores go together
    f1 = 2 * right[ends] / (ends + 1 + num_objects)
    best = int(np.argmax(f1))
    kept = int(ends[best]) + 1
    below = scores[kept] if kept < len(scores) else 0.0
    return ClassPoint(
        name=name,
        threshold=float((scores[kept - 1] + below) / 2),
        precision=float(right[kept - 1] / kept),
        recall=float(right[kept - 1] / num_objects),
        f1=float(f1[best]),
        num_objects=num_objects,
    )


class ReliabilityBin(NamedTuple):
    """Detections whose scores lie in one interval.

    Attributes:
        low, high: The interval; ``high`` belongs to the last one only.
        size: Detections in it.
        confidence: Their mean score.
        precision: The share that is right.
    """

    low: float
    high: float
    size: int
    confidence: float
    precision: float


def reliability(
    scores: np.ndarray, correct: np.ndarray, num_bins: int = 10
) -> list[ReliabilityBin]:
    """Compare scores with the share of right detections, in intervals of equal width.

    Args:
        scores: [N] in 0..1.
        correct: [N] bool.
        num_bins: Intervals; empty ones are left out of the result.
    """
    edges = np.linspace(0, 1, num_bins + 1)
    place = np.clip(np.searchsorted(edges, scores, side='right') - 1, 0, num_bins - 1)
    return [
        ReliabilityBin(
            float(edges[b]),
            float(edges[b + 1]),
            int(chosen.sum()),
            float(scores[chosen].mean()),
            float(correct[chosen].mean()),
        )
        for b in range(num_bins)
        if (chosen := place == b).any()
    ]


def expected_error(bins: Sequence[ReliabilityBin]) -> float:
    """Mean distance between score and share of right detections, each detection counting once.

    Source: Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, section 2
        (expected calibration error), with "right at IoU 0.5" in the place of "right class".
    """
    total = sum(each.size for each in bins)
    gaps = sum(each.size * abs(each.confidence - each.precision) for each in bins)
    return gaps / total if total else float('nan')
