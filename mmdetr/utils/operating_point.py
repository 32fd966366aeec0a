"""The score from which on a detection is shown, as a checkpoint states it; needs no torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

FALLBACK_THRESHOLD = 0.3
META_KEY = 'operating_point'


@dataclass(frozen=True)
class ClassPoint:
    """Where one class has its best F1.

    Attributes:
        name: Of the class; ``'all'`` for the classes together.
        threshold: Detections with this score or a higher one count.
        precision, recall, f1: Of these detections, in 0..1.
        num_objects: Annotated objects that it was measured on.
    """

    name: str
    threshold: float
    precision: float
    recall: float
    f1: float
    num_objects: int


@dataclass(frozen=True)
class OperatingPoint:
    """Score thresholds for use: one for all classes, and one for each class that was measured.

    Attributes:
        everything: Of all classes with one threshold; None where nothing was measured.
        classes: Of single classes; those without an annotated or found object are missing.
        iou: From which on a detection counted as right.
        num_images: Images that it was measured on.

    Example:
        >>> point = OperatingPoint(None)
        >>> point.threshold, point.threshold_of('cat'), point.measured
        (0.3, 0.3, False)
    """

    everything: ClassPoint | None
    classes: tuple[ClassPoint, ...] = ()
    iou: float = 0.5
    num_images: int = 0

    @property
    def measured(self) -> bool:
        """Whether the thresholds come from a validation."""
        return self.everything is not None

    @property
    def threshold(self) -> float:
        """The one threshold for all classes; 0.3 where nothing was measured."""
        return FALLBACK_THRESHOLD if self.everything is None else self.everything.threshold

    def threshold_of(self, name: str | None) -> float:
        """The threshold of a class; the one for all where it has none of its own."""
        own = (each.threshold for each in self.classes if each.name == name)
        return next(own, self.threshold)

    def thresholds(self, labels: Sequence[int], names: Sequence[str]) -> list[float]:
        """The threshold of each detection.

        Args:
            labels: Of the detections.
            names: Of the classes by label; labels beyond them have no name.
        """
        by_label = [self.threshold_of(name) for name in names]
        return [by_label[k] if k < len(by_label) else self.threshold for k in labels]

    def by_class(self, names: Sequence[str]) -> list[float] | None:
        """The threshold of each class, or None where all have the same."""
        thresholds = [self.threshold_of(name) for name in names]
        return thresholds if set(thresholds) - {self.threshold} else None

    def describe(self) -> str:
        """Say in one line which thresholds these are, and where they come from."""
        if self.everything is None:
            return (
                f'score threshold {FALLBACK_THRESHOLD:g}: the checkpoint states no operating '
                'point, which mmdetr measures at the end of each validation'
            )
        return (
            f'score threshold {self.span()} (best F1 on {self.num_images} validation images, IoU '
            f'{self.iou:g}: precision {self.everything.precision:.2f}, recall '
            f'{self.everything.recall:.2f} with {self.threshold:.2f} for all classes)'
        )

    def span(self) -> str:
        """The thresholds as short text, as ``0.3`` or ``0.21 to 0.48 by class``."""
        values = [each.threshold for each in self.classes]
        if len(values) < 2:
            return f'{values[0] if values else self.threshold:.2g}'
        return f'{min(values):.2f} to {max(values):.2f} by class'

    def to_dict(self) -> dict[str, Any] | None:
        """What a checkpoint's ``meta`` and JSON files hold; None where nothing was measured."""
        return (
            asdict(self) | dict(classes=list(map(asdict, self.classes))) if self.measured else None
        )


def operating_point_of(meta: Mapping[str, Any] | None) -> OperatingPoint:
    """Read the operating point from the ``meta`` of a checkpoint or of an exported model.

    Returns:
        One of 0.3 for all classes, with ``measured`` False, where ``meta`` has none or one that
        makes no sense.
    """
    stated: Any = (meta or {}).get(META_KEY)
    try:
        return OperatingPoint(
            _point(stated['everything']),
            tuple(map(_point, stated['classes'])),
            float(stated['iou']),
            int(stated['num_images']),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return OperatingPoint(None)


def _point(stated: Mapping[str, Any]) -> ClassPoint:
    numbers = {key: float(stated[key]) for key in ('threshold', 'precision', 'recall', 'f1')}
    if not all(map(math.isfinite, numbers.values())):
        raise ValueError('a number of the operating point is not finite')
    return ClassPoint(str(stated['name']), num_objects=int(stated['num_objects']), **numbers)
