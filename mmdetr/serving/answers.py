"""What the service answers, as plain records and as the OpenAPI page shows it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from .predictor import Detections, Predictor


class Mask(BaseModel):
    """Run lengths of a binary mask, as pycocotools reads them."""

    size: list[int] = Field(description='height and width in pixels of the image')
    counts: str = Field(description='compressed run lengths')


class Segment(BaseModel):
    """A segment of a panoptic segmentation."""

    id: int
    label: int
    name: str
    isthing: bool = Field(description='whether the class is countable')
    area: int = Field(description='pixels')
    score: float
    mask: Mask


class Prediction(BaseModel):
    """Detections of one image, best score first; equal places of the lists belong together."""

    width: int = Field(description='of the image as viewers show it, turned by its EXIF tag')
    height: int
    score_thr: float | None = Field(
        description='detections of lower scores were left out; null: than those of /model by class'
    )
    boxes: list[list[float]] = Field(description='[x1, y1, x2, y2] in pixels of the image')
    scores: list[float]
    labels: list[int]
    names: list[str]
    queries: list[int] | None = Field(None, description='what /attention is asked for by')
    masks: list[Mask] | None = None
    segments: list[Segment] | None = None


class Attention(BaseModel):
    """Where the last decoder layer looks for a query."""

    kind: str = Field(description='map or points')
    height: int | None = Field(None, description='rows of the map, which covers the whole image')
    width: int | None = None
    values: list[list[float]] | None = Field(None, description='rows, in 0..1 of the largest')
    points: list[list[float]] | None = Field(
        None, description='[x, y, weight] each; x and y in 0..1 of the image'
    )


class Model(BaseModel):
    """What is served."""

    name: str
    classes: list[str]
    attention: str | None = Field(description='map, points, or null where none can be shown')
    score_thr: float = Field(description='for all classes, where /predict is told none')
    thresholds: list[float] | None = Field(
        description='of each class in its place; null where all have the same'
    )
    max_bytes: int
    max_pixels: int


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str


def to_record(
    found: Detections, size: tuple[int, int], score_thr: float | None, predictor: Predictor
) -> dict[str, Any]:
    """Turn detections into a :class:`Prediction` as a plain record.

    Args:
        found: In any order.
        size: (w, h) of the image.
        score_thr: Detections of lower scores are left out; None leaves out those below what the
            predictor recommends, by class where it does.
        predictor: Whose classes name the labels.
    """
    least: Any = score_thr
    if score_thr is None and predictor.thresholds is None:
        least = score_thr = predictor.score_thr
    elif score_thr is None:
        least = [_threshold(predictor, label) for label in found.labels.tolist()]
    order = np.argsort(-found.scores, kind='stable')
    order = order[(found.scores >= least)[order]]
    labels = found.labels[order].tolist()
    record: dict[str, Any] = dict(
        width=size[0],
        height=size[1],
        score_thr=score_thr,
        boxes=found.boxes[order].tolist(),
        scores=found.scores[order].tolist(),
        labels=labels,
        names=[name_class(predictor.classes, label) for label in labels],
    )
    if found.queries is not None:
        record['queries'] = found.queries[order].tolist()
    if found.masks is not None:
        record['masks'] = [found.masks[i] for i in order.tolist()]
    if found.segments is not None:
        record['segments'] = [
            dict(each, name=name_class(predictor.classes, each['label'])) for each in found.segments
        ]
    return record


def _threshold(predictor: Predictor, label: int) -> float:
    own = predictor.thresholds or ()
    return own[label] if label < len(own) else predictor.score_thr


def name_class(classes: Sequence[str], label: int) -> str:
    """Name of a label, as ``tools/infer.py`` writes it.

    Example:
        >>> name_class(['cat'], 0), name_class(['cat'], 7)
        ('cat', 'class 7')
    """
    return classes[label] if label < len(classes) else f'class {label}'
