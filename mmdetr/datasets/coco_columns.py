"""The annotations of a COCO file as columns: few large arrays instead of many small objects."""

import math
from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

import numpy as np

from .coco_table import Table, short


class AnnotationColumns(NamedTuple):
    """The annotations of a file by column, each of length M, of the right types.

    Attributes:
        ids: Of the annotations.
        image_ids: int or str.
        category_ids: int.
        bboxes_xywh: [M, 4] float64 in pixels, as stated.
        areas: [M] float64 in pixels, as stated; width x height where not.
        iscrowd: [M] bool.
        segmentations: As stated; None where nobody asked for them.
    """

    ids: list
    image_ids: list
    category_ids: list
    bboxes_xywh: np.ndarray
    areas: np.ndarray
    iscrowd: np.ndarray
    segmentations: list | None


def read_columns(table: Table, with_segmentations: bool) -> AnnotationColumns:
    """Turn records of any content into columns.

    Raises:
        ValueError: A value is missing or of the wrong type.
    """
    bboxes_xywh = _read_bboxes(table)
    return AnnotationColumns(
        ids=table.column('id', int),
        image_ids=table.column('image_id', int, str),
        category_ids=table.column('category_id', int),
        bboxes_xywh=bboxes_xywh,
        areas=_read_areas(table, bboxes_xywh),
        iscrowd=_read_crowd_flags(table),
        segmentations=(
            [record.get('segmentation') for record in table.records] if with_segmentations else None
        ),
    )


def complete_areas(areas: np.ndarray, unknown: np.ndarray, bboxes_xywh: np.ndarray) -> None:
    """Take width x height, in place, where no area is stated, as in files made by hand.

    Args:
        areas: [M] float64.
        unknown: [M] bool.
        bboxes_xywh: [M, 4].
    """
    # Values too large for arithmetic are left to those who use the area.
    with np.errstate(over='ignore', invalid='ignore'):
        areas[unknown] = bboxes_xywh[unknown, 2] * bboxes_xywh[unknown, 3]


def _read_bboxes(table: Table) -> np.ndarray:
    values = table.column('bbox', list)
    # numpy would take booleans among numbers for numbers.
    types = set(map(type, chain.from_iterable(values)))
    if not (set(map(len, values)) <= {4} and types <= {int, float}):
        for index, bbox in enumerate(values):
            if len(bbox) != 4 or not all(type(number) in (int, float) for number in bbox):
                raise table.error(index, f"'bbox' must be four numbers, found {short(bbox)}")
    return _to_float64(chain.from_iterable(values)).reshape(-1, 4)


def _read_areas(table: Table, bboxes_xywh: np.ndarray) -> np.ndarray:
    stated = [record.get('area') for record in table.records]
    for index, area in enumerate(stated):
        if type(area) not in (int, float, type(None)):
            raise table.error(index, f"'area' must be a number, found {short(area)}")
    areas = _to_float64(math.nan if area is None else area for area in stated)
    complete_areas(areas, np.array([area is None for area in stated], dtype=bool), bboxes_xywh)
    return areas


def _read_crowd_flags(table: Table) -> np.ndarray:
    flags = [record.get('iscrowd', 0) for record in table.records]
    for index, flag in enumerate(flags):
        if flag not in (0, 1):
            raise table.error(index, f"'iscrowd' must be 0 or 1, found {short(flag)}")
    return np.array(flags, dtype=bool)


def _to_float64(numbers: Iterable[int | float]) -> np.ndarray:
    """Return [M] values; whole numbers too large become infinite."""
    numbers = list(numbers)
    try:
        return np.array(numbers, dtype=np.float64)
    except OverflowError:
        return np.array([_to_float(number) for number in numbers])


def _to_float(number: int | float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
