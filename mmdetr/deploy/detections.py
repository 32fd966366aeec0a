"""What a detector finds in one image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PanopticSegments:
    """A panoptic segmentation, as :class:`mmdetr.structures.PanopticResult`.

    Attributes:
        ids: int32 [H, W], the number of each pixel's segment; 0 is unlabelled.
        segments: Records with ``id``, ``label``, ``isthing``, ``area`` and ``score``.
    """

    ids: np.ndarray
    segments: list[dict[str, Any]]


@dataclass(frozen=True)
class ImageDetections:
    """Detections of one image, n of them.

    Attributes:
        boxes: float32 [n, 4] xyxy in pixels of the original image, unclipped.
        scores: float32 [n] in 0..1.
        labels: int64 [n], places in the detector's ``classes``.
        masks: n run-length codes as pycocotools has them, or None of a model without masks.
        panoptic: Segments of the whole image, or None of a model that makes none.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: list[dict[str, Any]] | None = None
    panoptic: PanopticSegments | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, score: float | Sequence[float]) -> 'ImageDetections':
        """Return the detections of that score or more, best first.

        Args:
            score: For all classes, or of each class, as ``RuntimeDetector.thresholds``.
        """
        least = score if isinstance(score, int | float) else np.asarray(score)[self.labels]
        order = np.argsort(-self.scores, kind='stable')
        return self.take(order[(self.scores >= least)[order]])

    def take(self, indices: np.ndarray) -> 'ImageDetections':
        """Return some detections, in the order of ``indices``."""
        masks = None if self.masks is None else [self.masks[i] for i in indices]
        return ImageDetections(
            self.boxes[indices], self.scores[indices], self.labels[indices], masks, self.panoptic
        )
