"""Scores by faster-coco-eval, one class after the other.

The library's time and memory follow images x classes, most of them empty, and a Python dict for
each detection of the whole set. Here they follow the detections of one class.

Legend: N detections and I images of one class, otherwise as in :mod:`~.box_scores`.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from faster_coco_eval import COCO
from faster_coco_eval import COCOeval_faster as COCOeval

from .detections import Detections


def score_by_class(
    ground_truth: list[dict[str, Any]],
    detections: Detections,
    num_classes: int,
    max_dets: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Precision at the largest limit [T, R, K, A] and recall [T, K, A, M].

    Args:
        ground_truth: COCO annotations, as for :func:`~.box_scores.score_boxes`; they get an ``id``.
        max_dets: Ascending limits on the detections of one image and class.
    """
    objects_of = defaultdict(list)
    for annotation in ground_truth:
        objects_of[annotation['category_id']].append(annotation)
    tables = [
        _score(objects_of[k], of_class, max_dets)
        for k, of_class in enumerate(detections.by_class(num_classes), start=1)
    ]
    precisions, recalls = zip(*tables, strict=True)
    return np.concatenate(precisions, axis=2), np.concatenate(recalls, axis=1)


class _ClassAnnotations(COCO):
    """What the evaluator asks a COCO object for, without the index of a whole data set."""

    def __init__(self, annotations: list[dict], image_ids: Iterable[int], category_id: int) -> None:
        super().__init__()
        self.annotations = annotations
        self.dataset = dict(
            images=[dict(id=image_id) for image_id in image_ids],
            categories=[dict(id=category_id, name=str(category_id))],
        )
        self.createIndex()

    def getAnnIds(self, *args: Any, **kwargs: Any) -> range:  # noqa: N802
        return range(len(self.annotations))

    def loadAnns(self, ids: Any = ()) -> list[dict]:  # noqa: N802
        return self.annotations


def _score(
    objects: list[dict], detections: Detections, max_dets: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The tables of one class, of length 1 on the axis K; -1 where it has no objects."""
    if not objects:
        return np.full((10, 101, 1, 4), -1.0), np.full((10, 1, 4, len(max_dets)), -1.0)
    # Ids start at 1: the evaluator marks "unmatched" by 0.
    for number, annotation in enumerate(objects, start=1):
        annotation['id'] = number
    category_id = objects[0]['category_id']
    found = _annotations(objects, detections, category_id, max_dets[-1])
    image_ids = {annotation['image_id'] for annotation in [*objects, *found]}
    evaluator = COCOeval(
        _ClassAnnotations(objects, image_ids, category_id),
        _ClassAnnotations(found, image_ids, category_id),
        'bbox',
    )
    evaluator.params.maxDets = list(max_dets)
    evaluator.evaluate()
    evaluator.accumulate()
    return evaluator.eval['precision'][..., -1], evaluator.eval['recall']


def _annotations(
    objects: list[dict], detections: Detections, category_id: int, most: int
) -> list[dict]:
    """COCO annotations of one class's detections, as few images as possible.

    Where an image has no object of the class, all detections of it are false positives, which
    count by their order of scores alone. They are put together in images of ``most`` detections,
    the largest limit; recall and precision at that limit stay what they are. Ranks in place of the
    scores keep equal scores in the order in which the evaluator would take them.
    """
    ranked = detections.take(np.argsort(-detections.scores, kind='stable'))
    image_ids = ranked.image_index + 1
    images_with_objects = [each['image_id'] for each in objects]
    last = max(image_ids.max(initial=0), *images_with_objects)
    has_objects = np.zeros(last + 1, dtype=bool)
    has_objects[images_with_objects] = True

    near = np.flatnonzero(has_objects[image_ids])
    far = np.flatnonzero(~has_objects[image_ids])
    far = far[_rank_in_group(image_ids[far]) < most]
    image_ids[far] = last + 1 + np.arange(len(far)) // most

    areas = ranked.bboxes_xywh[:, 2] * ranked.bboxes_xywh[:, 3]
    found = [
        dict(id=rank + 1, image_id=i, category_id=category_id, score=-rank, bbox=bbox, area=area)
        for rank, i, bbox, area in zip(
            *(c.tolist() for c in (near, image_ids[near], ranked.bboxes_xywh[near], areas[near])),
            strict=True,
        )
    ]
    # Nothing is there that a box could overlap.
    found += [
        dict(id=rank + 1, image_id=i, category_id=category_id, score=-rank, area=area)
        for rank, i, area in zip(
            *(c.tolist() for c in (far, image_ids[far], areas[far])), strict=True
        )
    ]
    return found


def _rank_in_group(groups: np.ndarray) -> np.ndarray:
    """How many earlier entries of the array are equal to each entry."""
    order = np.argsort(groups, kind='stable')
    in_order = groups[order]
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[order] = np.arange(len(groups)) - np.searchsorted(in_order, in_order)
    return ranks
