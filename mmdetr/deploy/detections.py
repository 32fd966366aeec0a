"""What a detector finds in one image."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ImageDetections:
    """Detections of one image, n of them.

    Attributes:
        boxes: float32 [n, 4] xyxy in pixels of the original image, unclipped.
        scores: float32 [n] in 0..1.
        labels: int64 [n], places in the detector's ``classes``.
        masks: n run-length codes as pycocotools has them, or None of a model without masks.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: list[dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, score: float) -> 'ImageDetections':
        """Return the detections of that score or more, best first."""
        order = np.argsort(-self.scores, kind='stable')
        return self.take(order[self.scores[order] >= score])

    def take(self, indices: np.ndarray) -> 'ImageDetections':
        """Return some detections, in the order of ``indices``."""
        masks = None if self.masks is None else [self.masks[i] for i in indices]
        return ImageDetections(
            self.boxes[indices], self.scores[indices], self.labels[indices], masks
        )
