"""Panoptic quality: which segments of a prediction are those of the ground truth, and how well.

Legend: K classes, S segments, H W image size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MATCHED_IOU = 0.5


@dataclass(frozen=True)
class ImageSegments:
    """A map and what is known of its segments; 0 and ids that are not listed are void.

    Attributes:
        ids: int [H, W].
        segment_ids: S ids above 0.
        labels: Class of each in 0..K-1; a negative one makes the segment void.
        iscrowd: Whether it stands for many objects; none does in predictions.
    """

    ids: np.ndarray
    segment_ids: Sequence[int]
    labels: Sequence[int]
    iscrowd: Sequence[int] = ()


@dataclass(frozen=True)
class PanopticScores:
    """Sums over the images, by class.

    Attributes:
        iou: [K] float64, sum of the IoUs of the matched pairs.
        tp, fp, fn: [K] int64, matched pairs, predictions without and ground truth without.
    """

    iou: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray

    @classmethod
    def zeros(cls, num_classes: int) -> 'PanopticScores':
        counts = (np.zeros(num_classes, dtype=np.int64) for _ in range(3))
        return cls(np.zeros(num_classes), *counts)

    def __add__(self, other: 'PanopticScores') -> 'PanopticScores':
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return PanopticScores(*(mine + theirs for mine, theirs in pairs))

    @property
    def seen(self) -> np.ndarray:
        """Classes that are annotated or predicted at all, bool [K]."""
        return self.tp + self.fp + self.fn > 0

    def qualities(self) -> np.ndarray:
        """Return PQ, SQ and RQ of each class in 0..1: [K, 3]; nan for a class never seen."""
        segments = self.tp + self.fp / 2 + self.fn / 2
        with np.errstate(invalid='ignore', divide='ignore'):
            quality = self.iou / segments
            recognition = self.tp / segments
            segmentation = np.where(self.tp > 0, self.iou / self.tp, 0.0)
        table = np.stack((quality, segmentation, recognition), axis=1)
        return np.where(self.seen[:, None], table, np.nan)

    def means(self, chosen: np.ndarray) -> tuple[float, float, float, int]:
        """Return PQ, SQ, RQ and the number of classes seen among those chosen, bool [K].

        -1 each where none was seen.
        """
        seen = self.seen & chosen
        if not seen.any():
            return -1.0, -1.0, -1.0, 0
        quality, segmentation, recognition = self.qualities()[seen].mean(axis=0).tolist()
        return quality, segmentation, recognition, int(seen.sum())


def compare(truth: ImageSegments, found: ImageSegments, num_classes: int) -> PanopticScores:
    """Match the segments of one image.

    A pair of one class with an IoU above one half is a match; there can be one at most. Void of the
    ground truth counts in no union, and a prediction that lies more than half in void or in a crowd
    of its class is not counted.

    Source: Kirillov et al., Panoptic Segmentation, equation 1, as panopticapi computes it; of
    several crowds of one class in an image it takes the last.
    """
    overlaps, truth_areas, found_areas = _overlaps(truth, found)
    truth_labels = [-1, *truth.labels]
    found_labels = [-1, *found.labels]
    crowds = [0, *(truth.iscrowd or [0] * len(truth.labels))]
    for place, label in enumerate(truth_labels):
        if label < 0 and place:  # of a class that is not asked for
            overlaps[0] += overlaps[place]
    void = overlaps[0]

    scores = PanopticScores.zeros(num_classes)
    missed = {i for i, label in enumerate(truth_labels) if label >= 0 and not crowds[i]}
    extra = {i for i, label in enumerate(found_labels) if label >= 0}
    for i, j in zip(*(where.tolist() for where in overlaps.nonzero()), strict=True):
        if i not in missed or j not in extra or truth_labels[i] != found_labels[j]:
            continue
        shared = overlaps[i, j]
        iou = shared / (truth_areas[i] + found_areas[j] - shared - void[j])
        if iou > MATCHED_IOU:
            scores.iou[truth_labels[i]] += iou
            scores.tp[truth_labels[i]] += 1
            missed.discard(i)
            extra.discard(j)
    for i in missed:
        scores.fn[truth_labels[i]] += 1
    crowd_of = {truth_labels[i]: i for i, crowd in enumerate(crowds) if crowd}
    for j in extra:
        ignored = void[j]
        if found_labels[j] in crowd_of:
            ignored = ignored + overlaps[crowd_of[found_labels[j]], j]
        if ignored / found_areas[j] <= 0.5:
            scores.fp[found_labels[j]] += 1
    return scores


def _overlaps(
    truth: ImageSegments, found: ImageSegments
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pixels of each pair [S + 1, S' + 1], and areas [S + 1] and [S' + 1]; 0 is void."""
    keys = truth.ids.astype(np.int64).ravel() << 32 | found.ids.ravel()
    pairs, counts = np.unique(keys, return_counts=True)
    place_of = [
        {segment_id: place for place, segment_id in enumerate(each.segment_ids, start=1)}
        for each in (truth, found)
    ]
    overlaps = np.zeros((len(place_of[0]) + 1, len(place_of[1]) + 1), dtype=np.int64)
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        overlaps[place_of[0].get(pair >> 32, 0), place_of[1].get(pair & 0xFFFFFFFF, 0)] += count
    return overlaps, overlaps.sum(axis=1), overlaps.sum(axis=0)
