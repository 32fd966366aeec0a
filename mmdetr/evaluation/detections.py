"""Detections of a whole dataset as flat arrays, and their COCO forms."""

from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np


class Detections(NamedTuple):
    """N detections of I images.

    Attributes:
        image_index: [N] in 0..I-1, ascending.
        labels: [N] in 0..K-1.
        scores: [N] float64.
        bboxes_xywh: [N, 4] float64, left, top, width, height in original image pixels.
    """

    image_index: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    bboxes_xywh: np.ndarray

    @classmethod
    def stack(cls, results: Sequence[dict[str, Any]], num_classes: int) -> 'Detections':
        """Join per-image ``bboxes`` (xyxy), ``scores`` and ``labels``.

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
        )

    def per_image(self, num_images: int) -> np.ndarray:
        """Count the detections of each image: [I]."""
        return np.bincount(self.image_index, minlength=num_images)

    def take(self, indices: np.ndarray) -> 'Detections':
        """Take some of the detections, in the order of ``indices``."""
        return Detections(*(column[indices] for column in self))

    def by_class(self, num_classes: int) -> Iterator['Detections']:
        """Yield the detections of each class, in the order in which they are here."""
        order = np.argsort(self.labels, kind='stable')
        ends = np.bincount(self.labels, minlength=num_classes).cumsum()
        for indices in np.split(order, ends[:-1]):
            yield self.take(indices)

    def for_scoring(self) -> list[dict[str, Any]]:
        """Return COCO annotations, images and classes counted from 1."""
        columns = (
            self.image_index + 1,
            self.labels + 1,
            self.scores,
            self.bboxes_xywh,
            self.bboxes_xywh[:, 2] * self.bboxes_xywh[:, 3],
        )
        return [
            dict(image_id=i, category_id=k, score=score, bbox=bbox, area=area, iscrowd=0)
            for i, k, score, bbox, area in zip(*(c.tolist() for c in columns), strict=True)
        ]

    def for_submission(
        self, img_ids: Sequence[Hashable], cat_ids: Sequence[int]
    ) -> list[dict[str, Any]]:
        """Return entries of COCO's result format, with the ids of the annotation file."""
        columns = (self.image_index, self.labels, self.scores, self.bboxes_xywh)
        return [
            dict(image_id=img_ids[i], category_id=cat_ids[k], bbox=bbox, score=score)
            for i, k, score, bbox in zip(*(c.tolist() for c in columns), strict=True)
        ]
