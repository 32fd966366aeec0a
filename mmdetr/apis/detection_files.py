"""Detections as files: JSON, YOLO's text, PNGs of masks."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

from PIL import Image
from pycocotools import mask as coco_mask

from mmdetr.datasets.panoptic_maps import write_panoptic_png
from mmdetr.structures import DetDataSample, above_operating_point
from mmdetr.utils.operating_point import OperatingPoint


def to_record(
    file: Path | str,
    sample: DetDataSample,
    classes: Sequence[str],
    score_thr: float | OperatingPoint,
    where: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Detections of one image as plain numbers, best score first.

    Args:
        file: Where the image is from.
        sample: With ``pred_instances``.
        classes: Names by label.
        score_thr: Detections with lower scores are left out; or the thresholds by class.
        where: More entries, as the place in a video.
    """
    pred = sample.pred_instances.cpu()
    pred = above_operating_point(pred, score_thr, classes)
    pred = pred[pred.scores.argsort(descending=True)]

    def name(label: int) -> str:
        return classes[label] if label < len(classes) else f'class {label}'

    record: dict[str, Any] = dict(
        file=str(file),
        **where,
        boxes=pred.bboxes.tolist(),
        scores=pred.scores.tolist(),
        labels=pred.labels.tolist(),
        names=[name(label) for label in pred.labels.tolist()],
    )
    if 'masks' in pred:
        record['masks'] = [
            dict(size=list(mask['size']), counts=mask['counts'].decode('ascii'))
            for mask in pred.masks
        ]
    if 'pred_panoptic' in sample:
        record['segments'] = [
            dict(each, name=name(each['label'])) for each in sample.pred_panoptic.segments
        ]
    return record


def yolo_lines(record: dict[str, Any], height: int, width: int) -> str:
    """Write the detections of a record as YOLO does: class, box, score, a line each.

    Args:
        record: From :func:`to_record`.
        height, width: Size of the image, by which the box's cx, cy, w, h are divided.

    Example:
        >>> record = dict(boxes=[[0, 0, 10, 20]], scores=[0.5], labels=[3])
        >>> yolo_lines(record, height=40, width=100)
        '3 0.050000 0.250000 0.100000 0.500000 0.500000\\n'
    """
    lines = []
    parts = (record['labels'], record['boxes'], record['scores'])
    for label, (x1, y1, x2, y2), score in zip(*parts, strict=True):
        box = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
        lines.append(' '.join([str(label), *(f'{value:.6f}' for value in (*box, score))]) + '\n')
    return ''.join(lines)


def write_masks(record: dict[str, Any], sample: DetDataSample, picture: Path) -> None:
    """Write each mask of a record, and the panoptic map, beside a picture."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    for number, mask in enumerate(record.get('masks', ())):
        pixels = Image.fromarray(255 * coco_mask.decode(mask))
        pixels.save(picture.with_name(f'{picture.name}.mask{number}.png'))
    if 'pred_panoptic' in sample:
        path = picture.with_name(f'{picture.name}.panoptic.png')
        write_panoptic_png(path, sample.pred_panoptic.ids)


def write_text(path: Path, text: str) -> None:
    """Write a text file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')


class JsonList:
    """A JSON file with a list, an entry a line, written as they come.

    It is to be used as a context manager, which ends the list also where the work breaks off.

    Args:
        path: The file, replaced; its folder is made.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open('w', encoding='utf-8')
        self._file.write('[\n')
        self.length = 0

    def __enter__(self) -> 'JsonList':
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.write('\n]\n')
        self._file.close()

    def append(self, entry: Any) -> None:
        """Add an entry."""
        self._file.write(',\n' * (self.length > 0) + json.dumps(entry))
        self.length += 1
