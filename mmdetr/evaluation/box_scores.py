"""Compute COCO's precision and recall of boxes or masks, by pycocotools or its C++ replacement.

Legend: T IoU thresholds (0.50:0.05:0.95), R recall thresholds (0:0.01:1), K classes, A areas
(all, small, medium, large), M limits on the detections of one image and class.
"""

import contextlib
import gc
import importlib.metadata
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.utils import digit_version

from .detections import Detections, IouType

AREAS = ('all', 'small', 'medium', 'large')
BACKENDS = ('auto', 'pycocotools', 'faster_coco_eval')
# Positions on the axis T.
IOU_50, IOU_75 = 0, 5


@dataclass(frozen=True)
class BoxScores:
    """Precision and recall tables of one evaluation; -1 marks what has no ground truth.

    Attributes:
        precision: [T, R, K, A], at the largest limit.
        recall: [T, K, A, M].
        max_dets: The M limits, ascending.
        iou_type: What was compared; it begins the names of the numbers.
    """

    precision: np.ndarray
    recall: np.ndarray
    max_dets: tuple[int, ...]
    iou_type: IouType = 'bbox'

    def summary(self) -> dict[str, float]:
        """Return the twelve numbers of COCO by name, unrounded; -1 without ground truth."""
        return {row.name: row.value for row in self._rows()}

    def table(self) -> str:
        """Format the twelve numbers as pycocotools prints them."""
        return '\n'.join(row.line() for row in self._rows())

    def class_average_precision(self, k: int) -> dict[str, float]:
        """Return AP numbers of class k by name, nan where the class has no ground truth."""
        values = {
            'mAP': self._average_precision(classes=k),
            'mAP_50': self._average_precision(IOU_50, classes=k),
            'mAP_75': self._average_precision(IOU_75, classes=k),
            'mAP_s': self._average_precision(area='small', classes=k),
            'mAP_m': self._average_precision(area='medium', classes=k),
            'mAP_l': self._average_precision(area='large', classes=k),
        }
        return {
            f'{self.iou_type}_{name}': float('nan') if value == -1 else value
            for name, value in values.items()
        }

    def class_table(self, names: Sequence[str]) -> str:
        """Format a line of AP numbers for each of the K classes."""
        rows = [self.class_average_precision(k) for k in range(len(names))]
        width = max(len('class'), *map(len, names))
        heads = [name.removeprefix(f'{self.iou_type}_m').replace('_', '') for name in rows[0]]
        lines = [f' {"class":<{width}} | ' + ' | '.join(f'{head:>5s}' for head in heads)]
        for name, row in zip(names, rows, strict=True):
            lines.append(f' {name:<{width}} | ' + ' | '.join(f'{v:5.3f}' for v in row.values()))
        return '\n'.join(lines)

    def _rows(self) -> 'list[_Row]':
        most, kind = self.max_dets[-1], self.iou_type
        rows = [
            _Row(f'{kind}_mAP', self._average_precision(), most),
            _Row(f'{kind}_mAP_50', self._average_precision(IOU_50), most, iou='0.50'),
            _Row(f'{kind}_mAP_75', self._average_precision(IOU_75), most, iou='0.75'),
        ]
        for area in AREAS[1:]:
            value = self._average_precision(area=area)
            rows.append(_Row(f'{kind}_mAP_{area[0]}', value, most, area))
        for m, limit in enumerate(self.max_dets):
            value = _mean_of_known(self.recall[:, :, 0, m])
            rows.append(_Row(f'{kind}_AR@{limit}', value, limit, kind='Recall'))
        for a, area in enumerate(AREAS[1:], start=1):
            value = _mean_of_known(self.recall[:, :, a, -1])
            rows.append(_Row(f'{kind}_AR_{area[0]}@{most}', value, most, area, kind='Recall'))
        return rows

    def _average_precision(
        self,
        iou: int | slice = slice(None),
        area: str = 'all',
        classes: int | slice = slice(None),
    ) -> float:
        return _mean_of_known(self.precision[iou][..., classes, AREAS.index(area)])


@dataclass(frozen=True)
class _Row:
    name: str
    value: float
    max_dets: int
    area: str = 'all'
    iou: str = '0.50:0.95'
    kind: str = 'Precision'

    def line(self) -> str:
        title = f'Average {self.kind}'
        return (
            f' {title:<18} (A{self.kind[0]}) @[ IoU={self.iou:<9} | area={self.area:>6s} '
            f'| maxDets={self.max_dets:>3d} ] = {self.value:0.3f}'
        )


def _mean_of_known(values: np.ndarray) -> float:
    known = values[values > -1]
    return float(np.mean(known)) if known.size else -1.0


@contextlib.contextmanager
def paused_garbage_collection() -> Iterator[None]:
    """Keep the cycle collector from walking a million small dicts, none of them in a cycle."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def resolve_backend(backend: str) -> str:
    """Turn ``'auto'`` into ``'faster_coco_eval'`` where that is installed, else pycocotools.

    Raises:
        ValueError: Unknown name.
        ImportError: faster_coco_eval is asked for by name, but missing or older than 1.6.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {BACKENDS}, got '{backend}'")
    if backend == 'pycocotools':
        return backend
    try:
        version = importlib.metadata.version('faster-coco-eval')
    except importlib.metadata.PackageNotFoundError:
        version = None
    if version is not None and digit_version(version) >= digit_version('1.6'):
        return 'faster_coco_eval'
    if backend == 'auto':
        return 'pycocotools'
    found = 'not installed' if version is None else f'version {version}'
    raise ImportError(
        f"backend='faster_coco_eval' needs faster-coco-eval >= 1.6 ({found}): "
        "pip install 'faster-coco-eval>=1.6', or use backend='auto'"
    )


def score_boxes(
    ground_truth: list[dict[str, Any]],
    detections: Detections,
    num_images: int,
    num_classes: int,
    max_dets: tuple[int, ...],
    backend: str = 'auto',
    iou_type: IouType = 'bbox',
) -> BoxScores:
    """Match detections with ground truth and accumulate precision and recall.

    Args:
        ground_truth: COCO annotations: image_id in 1..num_images, category_id in 1..num_classes,
            bbox [x, y, width, height], area, iscrowd; for masks segmentation, compressed run
            lengths. The evaluators write into them.
        max_dets: Ascending limits on the detections of one image and class.
        backend: As for :func:`resolve_backend`.
        iou_type: Whether boxes or masks are compared.
    """
    if resolve_backend(backend) == 'faster_coco_eval':
        from .class_scores import score_by_class

        tables = score_by_class(ground_truth, detections, num_classes, max_dets, iou_type)
        return BoxScores(*tables, max_dets, iou_type)

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def index(annotations: list[dict[str, Any]]) -> Any:
        # Ids start at 1: the evaluator marks "unmatched" by 0.
        for number, annotation in enumerate(annotations, start=1):
            annotation['id'] = number
        coco = COCO()
        coco.dataset = dict(
            # The evaluator reads sizes, but needs them for polygons alone.
            images=[dict(id=i, height=1, width=1) for i in range(1, num_images + 1)],
            categories=[dict(id=k, name=str(k)) for k in range(1, num_classes + 1)],
            annotations=annotations,
        )
        coco.createIndex()
        return coco

    with contextlib.redirect_stdout(io.StringIO()):
        found = detections.for_scoring(iou_type)
        evaluator = COCOeval(index(ground_truth), index(found), iou_type)
        evaluator.params.maxDets = list(max_dets)
        evaluator.evaluate()
        evaluator.accumulate()
    precision, recall = evaluator.eval['precision'][..., -1], evaluator.eval['recall']
    return BoxScores(precision, recall, max_dets, iou_type)
