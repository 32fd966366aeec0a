"""What the service asks of a detector, whatever computes it.

Legend: M detections of one image, h w its size in pixels.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class NoAttentionError(ValueError):
    """There is no such query, or no attention that can be shown; the message says which."""


@dataclass(frozen=True)
class Prepared:
    """An image ready for the model.

    Attributes:
        group: Images of equal group may be computed together, without one changing the other's
            result; None computes one alone.
        size: (w, h) of the original in pixels.
        data: What the predictor made of it.
    """

    group: Hashable
    size: tuple[int, int]
    data: Any


@dataclass(frozen=True)
class Detections:
    """What was found in one image, in the model's order.

    Attributes:
        boxes: [M, 4] absolute xyxy in pixels of the original, unclipped.
        scores: [M] in 0..1.
        labels: int [M] in 0..K-1.
        queries: int [M], the query of each, which its attention is asked for by; None where the
            detector does not tell.
        masks: M run-length codes of the original, ``size`` [h, w] and ``counts`` as text; None
            where the model makes none.
        segments: Panoptic segments as plain records, with their ``mask``; None likewise.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    queries: np.ndarray | None = None
    masks: list[dict[str, Any]] | None = None
    segments: list[dict[str, Any]] | None = None


def as_text(masks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turn run-length codes of pycocotools into what JSON can hold."""
    return [dict(size=list(each['size']), counts=_decoded(each['counts'])) for each in masks]


def _decoded(counts: bytes | str) -> str:
    return counts.decode('ascii') if isinstance(counts, bytes) else counts


class Predictor(Protocol):
    """A detector as the service needs it.

    Attributes:
        name: For people, as the name of its file.
        classes: Name of each label; may be shorter than the model has labels.
        score_thr: Score that detections are given from on where a request says nothing.
        thresholds: The same of each label, in the place of ``score_thr``; None where it is for all.
        attention: ``'map'``, ``'points'``, or None where none can be shown.
    """

    name: str
    classes: Sequence[str]
    score_thr: float
    thresholds: Sequence[float] | None
    attention: str | None

    def prepare(self, image: np.ndarray) -> Prepared:
        """Resize an image, uint8 [h, w, 3] RGB; called in several threads.

        Raises:
            ValueError: The model cannot take an image of that shape.
        """
        ...

    def predict(self, batch: Sequence[Prepared]) -> list[Detections]:
        """Detect objects in images of one group; called in one thread."""
        ...

    def attend(self, batch: Sequence[tuple[Prepared, int]]) -> list[dict[str, Any]]:
        """Compute the decoder's attention of a query of each image; called in one thread.

        Returns:
            Records as :mod:`mmdetr.serving.attention` has them.

        Raises:
            NoAttentionError: There is no such query, or no attention.
        """
        ...
