"""The service's detector from an exported file. Does not import torch."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmdetr.deploy import RuntimeDetector
from mmdetr.deploy.detections import PanopticSegments
from mmdetr.deploy.run_lengths import encode

from .predictor import Detections, NoAttentionError, Prepared, as_text


class RuntimePredictor:
    """An exported model; images whose network inputs have one size are computed together.

    Args:
        detector: The model. It resizes images itself.
    """

    attention: str | None = None

    def __init__(self, detector: RuntimeDetector) -> None:
        self.name = detector.file.name
        self.classes: Sequence[str] = detector.classes
        point = detector.operating_point
        self.score_thr = point.threshold
        if detector.score_threshold is not None:
            self.score_thr = detector.score_threshold
        self.thresholds: Sequence[float] | None = None
        if set(detector.thresholds) - {self.score_thr}:
            self.thresholds = detector.thresholds
        self._detector = detector

    @classmethod
    def from_file(
        cls, file: str | os.PathLike, max_batch: int, runtime: str | None = None
    ) -> 'RuntimePredictor':
        """Load a file that ``mmdetr export`` wrote; arguments and errors of RuntimeDetector."""
        return cls(RuntimeDetector(file, runtime, batch_size=max_batch))

    def prepare(self, image: np.ndarray) -> Prepared:
        """See :class:`mmdetr.serving.predictor.Predictor`."""
        height, width = image.shape[:2]
        bgr = np.ascontiguousarray(image[..., ::-1])
        return Prepared(self._detector.network_size(height, width), (width, height), bgr)

    def predict(self, batch: Sequence[Prepared]) -> list[Detections]:
        """See :class:`mmdetr.serving.predictor.Predictor`."""
        found = self._detector.predict([each.data for each in batch])
        return [
            Detections(
                boxes=each.boxes,
                scores=each.scores,
                labels=each.labels,
                masks=None if each.masks is None else as_text(each.masks),
                segments=None if each.panoptic is None else _segments(each.panoptic),
            )
            for each in found
        ]

    def attend(self, batch: Sequence[tuple[Prepared, int]]) -> list[dict[str, Any]]:
        """See :class:`mmdetr.serving.predictor.Predictor`; there is none in a file."""
        raise NoAttentionError('an exported file has no attention to show')


def _segments(panoptic: PanopticSegments) -> list[dict[str, Any]]:
    ids = panoptic.ids.T
    masks = as_text([encode(ids == each['id']) for each in panoptic.segments])
    return [dict(each, mask=mask) for each, mask in zip(panoptic.segments, masks, strict=True)]
