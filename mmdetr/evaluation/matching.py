"""Which detections are right at one IoU: COCO's assignment, image by image and class by class.

Legend: N detections and G objects of one image.
"""

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from .coco_annotations import LARGEST_AREA
from .detections import Detections


class MatchedDetections(NamedTuple):
    """N detections of a whole dataset, as far as they count.

    Attributes:
        scores: [N] float64, descending within each class.
        labels: [N].
        correct: [N] bool, whether it found an object that no better one had found.
        num_objects: [K] objects of each class, crowds left out.
    """

    scores: np.ndarray
    labels: np.ndarray
    correct: np.ndarray
    num_objects: np.ndarray


def box_ious(
    first_xywh: np.ndarray, second_xywh: np.ndarray, iscrowd: np.ndarray | None = None
) -> np.ndarray:
    """IoU of all pairs, [N, G]; with a crowd, the share of the detection that lies in it."""
    if not len(first_xywh) or not len(second_xywh):
        return np.zeros((len(first_xywh), len(second_xywh)))
    crowd = np.zeros(len(second_xywh)) if iscrowd is None else iscrowd
    first, second = (np.asarray(each, dtype=np.float64) for each in (first_xywh, second_xywh))
    return coco_mask.iou(first, second, crowd.astype(np.uint8).tolist())


def assign(ious: np.ndarray, iscrowd: np.ndarray, threshold: float) -> np.ndarray:
    """Give each detection, the best first, the object that it overlaps most and nobody has yet.

    Args:
        ious: [N, G], detections by descending score.
        iscrowd: [G] bool; a crowd takes any number of detections, but only those that no single
            object takes.
        threshold: Least IoU.

    Returns:
        [N] index of the object, -1 for none.

    Source: The COCO evaluation; of equal IoUs the last object counts, as there.
    """
    assigned = np.full(len(ious), -1)
    least = min(threshold, 1 - 1e-10)
    free = ~iscrowd
    for n in np.flatnonzero((ious >= least).any(axis=1)).tolist():
        for candidates in (free, iscrowd):
            row = np.where(candidates, ious[n], -1.0)
            best = row.max()
            if best >= least:
                assigned[n] = np.flatnonzero(row == best)[-1]
                break
        if assigned[n] >= 0 and not iscrowd[assigned[n]]:
            free[assigned[n]] = False
    return assigned


def match_detections(
    ground_truth: list[dict[str, Any]],
    detections: Detections,
    num_classes: int,
    max_dets: int,
    iou: float = 0.5,
) -> MatchedDetections:
    """Say of each detection of a dataset whether it is right.

    Args:
        ground_truth: As for :func:`~.box_scores.score_boxes`, which writes into it: call this one
            before.
        detections: Of all images.
        num_classes: K.
        max_dets: Limit on the detections of one image and class that count, the best ones.
        iou: From which on a detection finds an object.

    Returns:
        The detections that count, ordered by class and descending score. Those that lie in a crowd
        do not, nor do wrong ones of an impossible area, as in the COCO evaluation.
    """
    objects: dict[tuple[int, int], list[dict]] = defaultdict(list)
    num_objects = np.zeros(num_classes, dtype=int)
    for each in ground_truth:
        objects[each['category_id'] - 1, each['image_id'] - 1].append(each)
        num_objects[each['category_id'] - 1] += not each['iscrowd']
    # By class, image and descending score; equal scores stay in their order, as in COCO's sort.
    order = np.lexsort((-detections.scores, detections.image_index, detections.labels))
    ordered = detections.take(order)
    keys = np.stack((ordered.labels, ordered.image_index), axis=1)
    starts = np.flatnonzero((np.diff(keys, axis=0, prepend=-1) != 0).any(axis=1))
    sizes = np.diff(np.append(starts, len(order)))
    areas = ordered.areas('bbox')
    scorable = (areas >= 0) & (areas <= LARGEST_AREA)
    counts = scorable & (np.arange(len(order)) - np.repeat(starts, sizes) < max_dets)
    correct = np.zeros(len(order), dtype=bool)
    # Most groups of an image and a class have no object, and nothing more to be asked.
    groups = zip(map(tuple, keys[starts].tolist()), starts.tolist(), sizes.tolist(), strict=True)
    for key, start, size in groups:
        truth = objects.get(key)
        if truth is None:
            continue
        kept = slice(start, start + min(size, max_dets))
        iscrowd = np.array([bool(each['iscrowd']) for each in truth])
        ious = box_ious(
            ordered.bboxes_xywh[kept], np.array([each['bbox'] for each in truth]), iscrowd
        )
        assigned = assign(ious, iscrowd, iou)
        in_crowd = (assigned >= 0) & iscrowd[assigned]
        correct[kept] = (assigned >= 0) & ~in_crowd
        counts[kept] = (assigned >= 0) & ~in_crowd | scorable[kept] & (assigned < 0)
    by_score = np.lexsort((-ordered.scores, ordered.labels))
    chosen = by_score[counts[by_score]]
    return MatchedDetections(
        ordered.scores[chosen], ordered.labels[chosen], correct[chosen], num_objects
    )
