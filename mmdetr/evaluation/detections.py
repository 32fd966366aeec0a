"""Detections of a whole dataset as flat arrays, and their COCO forms."""

from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from pycocotools import mask as coco_mask

IouType: TypeAlias = Literal['bbox', 'segm']


class Detections(NamedTuple):
    """N detections of I images.

    Attributes:
        image_index: [N] in 0..I-1, ascending.
        labels: [N] in 0..K-1.
        scores: [N] float64.
        bboxes_xywh: [N, 4] float64, left, top, width, height in original image pixels.
        masks: [N] COCO's compressed run lengths in original image pixels, if there are masks.
    """

    image_index: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    bboxes_xywh: np.ndarray
    masks: np.ndarray | None = None

    @classmethod
    def stack(cls, results: Sequence[dict[str, Any]], num_classes: int) -> 'Detections':
        """Join per-image ``bboxes`` (xyxy), ``scores``, ``labels`` and, if any, ``masks``.

        Raises:
            ValueError: A label is outside 0..num_classes-1; the message names the image id.
        """
        for result in results:
            labels = result['labels']
            if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
                raise ValueError(
                    f'image id {result["img_id"]}: predicted labels {labels.min()}..{labels.max()} '
                    f'but the dataset has {num_classes} classes: num_classes of the model must '
                    'be the same'
                )
        counts = [len(result['scores']) for result in results]
        xyxy = np.concatenate([result['bboxes'] for result in results]).astype(np.float64)
        return cls(
            image_index=np.repeat(np.arange(len(results)), counts),
            labels=np.concatenate([result['labels'] for result in results]),
            scores=np.concatenate([result['scores'] for result in results]).astype(np.float64),
            bboxes_xywh=np.concatenate((xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]), axis=1),
            masks=_join_masks(results) if 'masks' in results[0] else None,
        )

    def per_image(self, num_images: int) -> np.ndarray:
        """Count the detections of each image: [I]."""
        return np.bincount(self.image_index, minlength=num_images)

    def take(self, indices: np.ndarray) -> 'Detections':
        """Take some of the detections, in the order of ``indices``."""
        columns = (None if column is None else column[indices] for column in self)
        return Detections(*columns)  # type: ignore[arg-type]  # None stays None

    def keep_labels(self, kept: Sequence[int], num_classes: int) -> 'Detections':
        """Keep the detections of some classes, which are numbered anew from 0 on."""
        numbers = np.full(num_classes, -1)
        numbers[list(kept)] = np.arange(len(kept))
        labels = numbers[self.labels]
        return self._replace(labels=labels).take(np.flatnonzero(labels >= 0))

    def areas(self, iou_type: IouType) -> np.ndarray:
        """Return the area of each box or mask in pixels: [N] float64."""
        if iou_type == 'bbox' or self.masks is None:
            return self.bboxes_xywh[:, 2] * self.bboxes_xywh[:, 3]
        # pycocotools 2.0.11 with numpy 2 takes no more than 255 at once.
        areas = [coco_mask.area(mask) for mask in self.masks.tolist()]
        return np.array(areas, dtype=np.float64)

    def shapes(self, iou_type: IouType) -> dict[str, list]:
        """Return what COCO's formats state of each box or mask, by its key."""
        if iou_type == 'bbox' or self.masks is None:
            return dict(bbox=self.bboxes_xywh.tolist())
        return dict(segmentation=self.masks.tolist())

    def by_class(self, num_classes: int) -> Iterator['Detections']:
        """Yield the detections of each class, in the order in which they are here."""
        order = np.argsort(self.labels, kind='stable')
        ends = np.bincount(self.labels, minlength=num_classes).cumsum()
        for indices in np.split(order, ends[:-1]):
            yield self.take(indices)

    def for_scoring(self, iou_type: IouType) -> list[dict[str, Any]]:
        """Return COCO annotations, images and classes counted from 1."""
        ((key, shapes),) = self.shapes(iou_type).items()
        columns = (self.image_index + 1, self.labels + 1, self.scores, self.areas(iou_type))
        rows = zip(*(c.tolist() for c in columns), shapes, strict=True)
        return [
            {'image_id': i, 'category_id': k, 'score': score, 'area': area, 'iscrowd': 0, key: each}
            for i, k, score, area, each in rows
        ]

    def for_submission(
        self, img_ids: Sequence[Hashable], cat_ids: Sequence[int], iou_type: IouType
    ) -> list[dict[str, Any]]:
        """Return entries of COCO's result format, with the ids of the annotation file."""
        ((key, shapes),) = self.shapes(iou_type).items()
        if iou_type == 'segm':
            shapes = [dict(size=list(s['size']), counts=_as_text(s['counts'])) for s in shapes]
        columns = (self.image_index, self.labels, self.scores)
        rows = zip(*(c.tolist() for c in columns), shapes, strict=True)
        return [
            {'image_id': img_ids[i], 'category_id': cat_ids[k], key: each, 'score': score}
            for i, k, score, each in rows
        ]


def _join_masks(results: Sequence[dict[str, Any]]) -> np.ndarray:
    masks = [mask for result in results for mask in result['masks']]
    joined = np.empty(len(masks), dtype=object)
    joined[:] = masks
    return joined


def _as_text(counts: bytes | str) -> str:
    return counts if isinstance(counts, str) else counts.decode('ascii')
