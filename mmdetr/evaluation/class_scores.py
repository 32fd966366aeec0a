"""Score boxes or masks by faster-coco-eval, one class after the other.

The library's time and memory follow images x classes, most of them without an object or a
detection, and it keeps a Python dict for each detection of the whole set. Here they follow the
detections of one class at a time: :func:`_pack_detections` leaves as few images as possible, and
:class:`_UnindexedCOCO` leaves out the library's index. Tables are those of pycocotools
(tests/test_evaluation/test_class_scores.py).

Legend: N detections and I images of one class, otherwise as in :mod:`~.box_scores`.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from faster_coco_eval import COCO
from faster_coco_eval import COCOeval_faster as COCOeval

from .detections import Detections, IouType


def score_by_class(
    ground_truth: list[dict[str, Any]],
    detections: Detections,
    num_classes: int,
    max_dets: tuple[int, ...],
    iou_type: IouType = 'bbox',
) -> tuple[np.ndarray, np.ndarray]:
    """Compute precision at the largest limit [T, R, K, A] and recall [T, K, A, M].

    Args:
        ground_truth: COCO annotations, as for :func:`~.box_scores.score_boxes`; they get an ``id``.
        max_dets: Ascending limits on the detections of one image and class.
        iou_type: Whether boxes or masks are compared.
    """
    objects_of = defaultdict(list)
    for annotation in ground_truth:
        objects_of[annotation['category_id']].append(annotation)
    tables = [
        _score(objects_of[k], of_class, max_dets, iou_type)
        for k, of_class in enumerate(detections.by_class(num_classes), start=1)
    ]
    precisions, recalls = zip(*tables, strict=True)
    return np.concatenate(precisions, axis=2), np.concatenate(recalls, axis=1)


class _UnindexedCOCO(COCO):
    """Annotations of one class as the evaluator reads them, without COCO's index of them.

    The evaluator calls ``getAnnIds`` with all its images and classes and hands the result to
    ``loadAnns``: the answer is always all annotations, so ids are not looked up. Of the data set
    itself it reads the ids of images and categories.

    Args:
        annotations: As in a COCO file, all of one category.
        image_ids: Images that the evaluator looks at.
        category_id: The category.
    """

    def __init__(self, annotations: list[dict], image_ids: Iterable[int], category_id: int) -> None:
        super().__init__()
        self.annotations = annotations
        self.dataset = dict(
            # The evaluator reads sizes, but needs them for polygons alone.
            images=[dict(id=image_id, height=1, width=1) for image_id in image_ids],
            categories=[dict(id=category_id, name=str(category_id))],
        )
        self.createIndex()  # of images and categories; there is no key 'annotations'

    def getAnnIds(self, *args: Any, **kwargs: Any) -> range:  # noqa: N802
        return range(len(self.annotations))

    def loadAnns(self, ids: Any = ()) -> list[dict]:  # noqa: N802
        return self.annotations


def _score(
    objects: list[dict], detections: Detections, max_dets: tuple[int, ...], iou_type: IouType
) -> tuple[np.ndarray, np.ndarray]:
    """Return the tables of one class, of length 1 on the axis K; -1 where it has no objects."""
    if not objects:
        return np.full((10, 101, 1, 4), -1.0), np.full((10, 1, 4, len(max_dets)), -1.0)
    # Ids start at 1: the evaluator marks "unmatched" by 0.
    for number, annotation in enumerate(objects, start=1):
        annotation['id'] = number
    category_id = objects[0]['category_id']
    found = _pack_detections(objects, detections, category_id, max_dets[-1], iou_type)
    image_ids = {annotation['image_id'] for annotation in [*objects, *found]}
    evaluator = COCOeval(
        _UnindexedCOCO(objects, image_ids, category_id),
        _UnindexedCOCO(found, image_ids, category_id),
        iou_type,
    )
    evaluator.params.maxDets = list(max_dets)
    evaluator.evaluate()
    evaluator.accumulate()
    # Precision at smaller limits is not that of the real images, see _pack_detections.
    return evaluator.eval['precision'][..., -1], evaluator.eval['recall']


def _pack_detections(
    objects: list[dict],
    detections: Detections,
    category_id: int,
    limit: int,
    iou_type: IouType,
) -> list[dict]:
    """Return one class's detections as COCO annotations in as few images as possible.

    Most images in which a class is detected have no object of it. Each detection there is a false
    positive, wherever it lies. Such detections are packed into dummy images of ``limit``
    each, numbered behind the real images. The tables stay the same because

    - an image counts its ``limit`` best detections of a class: those beyond are dropped before
      packing, and a dummy image has no more than ``limit``;
    - recall counts objects, and dummy images have none;
    - precision at the largest limit needs the order of all detections and which of them are true.
      Each detection keeps its area, as a false positive only counts in the range of its own size;
    - the evaluator sorts by score and leaves equal scores in the order of their images. Packing
      changes that order, so each score is replaced by minus its rank in the original one.

    Args:
        objects: Annotated objects of the class, one at least.
        detections: N detections of the class, in the order of their images.
        category_id: The class.
        limit: Largest number of detections that count in an image.
        iou_type: Whether boxes or masks are compared.
    """
    ranked = detections.take(np.argsort(-detections.scores, kind='stable'))
    image_ids = ranked.image_index + 1
    images_with_objects = [each['image_id'] for each in objects]
    last = max(image_ids.max(initial=0), *images_with_objects)
    has_objects = np.zeros(last + 1, dtype=bool)
    has_objects[images_with_objects] = True

    # Ranks of detections that may be true, and of those that are false wherever they lie.
    beside_objects = np.flatnonzero(has_objects[image_ids])
    alone = np.flatnonzero(~has_objects[image_ids])
    alone = alone[_rank_in_group(image_ids[alone]) < limit]
    image_ids[alone] = last + 1 + np.arange(len(alone)) // limit

    areas = ranked.areas(iou_type)
    ((key, shapes),) = ranked.take(beside_objects).shapes(iou_type).items()

    def as_annotations(ranks: np.ndarray) -> list[dict]:
        columns = zip(ranks.tolist(), image_ids[ranks].tolist(), areas[ranks].tolist(), strict=True)
        return [
            dict(id=rank + 1, image_id=i, category_id=category_id, score=-rank, area=area)
            for rank, i, area in columns
        ]

    found = as_annotations(beside_objects)
    for annotation, shape in zip(found, shapes, strict=True):
        annotation[key] = shape
    # The others need no box or mask: there is nothing that it could overlap.
    return found + as_annotations(alone)


def _rank_in_group(groups: np.ndarray) -> np.ndarray:
    """Count the earlier entries of the array that are equal to each entry."""
    order = np.argsort(groups, kind='stable')
    in_order = groups[order]
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[order] = np.arange(len(groups)) - np.searchsorted(in_order, in_order)
    return ranks
