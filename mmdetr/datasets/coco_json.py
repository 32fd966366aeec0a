"""Read COCO detection JSON and refuse what would otherwise train or score on wrong data."""

import json
import math
import reprlib
from collections import Counter
from collections.abc import Iterable
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from .local_files import read_file

SHOWN = 80  # characters of a value in a message
LARGEST_SIDE = 2**31 - 1  # no image format states more
INT64 = np.iinfo(np.int64)
BACKGROUNDS = ('_background_', '__background__')


class CocoJson(NamedTuple):
    """The checked contents of one file; annotations as columns of length M.

    Attributes:
        images: Dicts with ``id`` (int or str) and, if asked for, ``file_name``, ``width`` and
            ``height``, in file order.
        categories: Name by category id, ids ascending.
        image_indices: [M] int64, position of the annotation's image in ``images``.
        category_ids: [M] int64.
        bboxes_xywh: [M, 4] float64, left, top, width, height in pixels, as stated.
        areas: [M] float64 in pixels, as stated; width x height where not.
        iscrowd: [M] bool.
        segmentations: M polygon lists or RLE dicts as stated and unchecked, None where an
            annotation has none; None as a whole where nobody asked for them.
        placeholders: Name by category id of what exporters put at id 0 and nothing is annotated
            with; not among the categories.
    """

    images: list[dict]
    categories: dict[int, str]
    image_indices: np.ndarray
    category_ids: np.ndarray
    bboxes_xywh: np.ndarray
    areas: np.ndarray
    iscrowd: np.ndarray
    segmentations: list | None = None
    placeholders: dict[int, str] = {}


def read_coco_json(
    path: str,
    need_annotations: bool = True,
    need_files: bool = True,
    with_segmentations: bool = False,
) -> CocoJson:
    """Read and check a COCO annotation file.

    Args:
        path: Local path or address of the JSON file.
        need_annotations: Whether a file without ``annotations`` (as for test-dev) is an error.
        need_files: Whether names and sizes of the images are read; scoring does without.
        with_segmentations: Whether polygons and RLEs are kept; they are most of the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no JSON, lacks a key, repeats a key or an id, refers to an unknown
            one, or holds a value of the wrong type. The message names the file and the id.
    """
    content = _load(path, with_segmentations)
    images = _read_images(_Table(path, 'images', content), need_files)
    if not need_annotations:
        content.setdefault('annotations', [])
    table = _Table(path, 'annotations', content)
    category_table = _Table(path, 'categories', content)
    placeholders = _take_placeholders(category_table, table)
    categories = _read_categories(category_table)
    table.unique_ids(int)

    index_of = {image['id']: index for index, image in enumerate(images)}
    image_ids = table.column('image_id', int, str)
    table.check_known('image_id', image_ids, index_of)
    category_ids = table.column('category_id', int)
    table.check_known('category_id', category_ids, categories)
    bboxes_xywh = _read_bboxes(table)
    return CocoJson(
        images=images,
        categories=categories,
        image_indices=np.array([index_of[image_id] for image_id in image_ids], dtype=np.int64),
        category_ids=np.array(category_ids, dtype=np.int64),
        bboxes_xywh=bboxes_xywh,
        areas=_read_areas(table, bboxes_xywh),
        iscrowd=_read_crowd_flags(table),
        segmentations=(
            [record.get('segmentation') for record in table.records] if with_segmentations else None
        ),
        placeholders=placeholders,
    )


def _read(path: str) -> bytes:
    try:
        return read_file(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f'annotation file {path} does not exist; check data_root and ann_file'
        ) from None
    except ValueError as error:
        raise ValueError(f'{path} is not valid JSON: {error}') from None


def _load(path: str, with_segmentations: bool) -> dict:
    hook = partial(_record, with_segmentations=with_segmentations)
    data = _read(path)
    try:
        content = json.loads(data, object_pairs_hook=hook)
    except ValueError as error:
        raise ValueError(f'{path} is not valid JSON: {error}') from error
    except RecursionError:
        raise ValueError(f'{path} is not valid JSON: it is nested too deep') from None
    if not isinstance(content, dict):
        raise ValueError(
            f'{path} is not a COCO annotation file: it holds a {type(content).__name__} instead of '
            'an object with images, annotations and categories'
        )
    return content


def _record(pairs: list[tuple[str, Any]], with_segmentations: bool) -> dict:
    record = dict(pairs)
    if len(record) < len(pairs):
        key, times = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f'an object has the key {_short(key)} {times} times')
    if not with_segmentations:
        # Polygons are most of COCO's files; dropped while parsing they never fill the memory.
        record.pop('segmentation', None)
    return record


class _Table:
    """One list of records of the file; its errors name file, list and record."""

    def __init__(self, path: str, name: str, content: dict) -> None:
        if not isinstance(content.get(name), list):
            raise ValueError(f"{path} has no list '{name}'; it is not a COCO annotation file")
        self.path = path
        self.name = name
        self.records: list[Any] = content[name]

    def error(self, index: int, problem: str) -> ValueError:
        record = self.records[index]
        known = isinstance(record, dict) and 'id' in record
        which = f'the one with id {_short(record["id"])}' if known else f'number {index}'
        return ValueError(f'{self.path}: {self.name}, {which}: {problem}')

    def column(self, key: str, *types: type) -> list:
        """Return the values of a key that every record must have; bool does not count as int."""
        try:
            values = [record[key] for record in self.records]
        except (KeyError, TypeError):
            index, record = next(
                (index, record)
                for index, record in enumerate(self.records)
                if not isinstance(record, dict) or key not in record
            )
            if not isinstance(record, dict):
                raise self.error(index, f'{_short(record)} is not an object') from None
            raise self.error(index, f"the key '{key}' is missing") from None
        if not set(map(type, values)) <= set(types):
            index = next(index for index, value in enumerate(values) if type(value) not in types)
            names = ' or '.join(each.__name__ for each in types)
            raise self.error(index, f"'{key}' must be {names}, found {_short(values[index])}")
        return values

    def unique_ids(self, *types: type) -> list:
        ids = self.column('id', *types)
        if len(set(ids)) < len(ids):
            repeated, times = Counter(ids).most_common(1)[0]
            raise ValueError(
                f'{self.path}: {self.name}: id {_short(repeated)} is used {times} times'
            )
        return ids

    def check_known(self, key: str, values: list, known: dict) -> None:
        unknown = set(values) - known.keys()
        if unknown:
            index = next(index for index, value in enumerate(values) if value in unknown)
            raise self.error(index, f'{key} {_short(values[index])} is not in the file')


def _read_images(table: _Table, need_files: bool) -> list[dict]:
    if not table.records:
        raise ValueError(f'{table.path} lists no images')
    ids = table.unique_ids(int, str)
    if not need_files:
        return [dict(id=image_id) for image_id in ids]
    names = table.column('file_name', str)
    sizes = {side: table.column(side, int, float) for side in ('width', 'height')}
    for side, values in sizes.items():
        for index, value in enumerate(values):
            if not (0 < value <= LARGEST_SIDE and value % 1 == 0):
                raise table.error(
                    index,
                    f"'{side}' must be a positive whole number below 2**31, found {_short(value)}",
                )
    columns = zip(ids, names, sizes['width'], sizes['height'], strict=True)
    return [
        dict(id=image_id, file_name=name, width=int(width), height=int(height))
        for image_id, name, width, height in columns
    ]


def _take_placeholders(table: _Table, annotations: _Table) -> dict[int, str]:
    """Take the category out of the table that an exporter adds and nobody annotates with.

    Roboflow lists the project itself, with supercategory 'none', as id 0 and makes it the
    supercategory of the others; labelme lists its background.
    """
    records = [each for each in table.records if isinstance(each, dict)]
    parents = {str(each.get('supercategory')) for each in records if each.get('id') != 0}
    found: dict[int, str] = {}
    for each in records:
        if type(each.get('id')) is not int or each['id'] != 0 or len(records) == 1:
            continue
        name = each.get('name')
        parent = each.get('supercategory') == 'none' and parents == {name}
        used = any(
            isinstance(record, dict) and record.get('category_id') == 0
            for record in annotations.records
        )
        if isinstance(name, str) and (parent or name in BACKGROUNDS) and not used:
            found[0] = name
            table.records = [other for other in table.records if other is not each]
    return found


def _read_categories(table: _Table) -> dict[int, str]:
    if not table.records:
        raise ValueError(f'{table.path} lists no categories')
    ids = table.unique_ids(int)
    for index, cat_id in enumerate(ids):
        if not INT64.min <= cat_id <= INT64.max:
            raise table.error(index, "'id' must have 64 bits at most")
    categories = dict(sorted(zip(ids, table.column('name', str), strict=True)))
    name, times = Counter(categories.values()).most_common(1)[0]
    if times > 1:
        ids = [cat_id for cat_id, each in categories.items() if each == name]
        raise ValueError(
            f'{table.path}: categories {ids} share the name {_short(name)}; rename them'
        )
    return categories


def _read_bboxes(table: _Table) -> np.ndarray:
    values = table.column('bbox', list)
    # numpy would take booleans among numbers for numbers.
    types = set(map(type, chain.from_iterable(values)))
    if not (set(map(len, values)) <= {4} and types <= {int, float}):
        for index, bbox in enumerate(values):
            if len(bbox) != 4 or not all(type(number) in (int, float) for number in bbox):
                raise table.error(index, f"'bbox' must be four numbers, found {_short(bbox)}")
    return _to_float64(chain.from_iterable(values)).reshape(-1, 4)


def _read_areas(table: _Table, bboxes_xywh: np.ndarray) -> np.ndarray:
    # Files made by hand often leave it out.
    stated = [record.get('area') for record in table.records]
    for index, area in enumerate(stated):
        if type(area) not in (int, float, type(None)):
            raise table.error(index, f"'area' must be a number, found {_short(area)}")
    known = np.array([area is not None for area in stated], dtype=bool)
    # Values too large for arithmetic are left to those who use the area.
    with np.errstate(over='ignore', invalid='ignore'):
        areas = bboxes_xywh[:, 2] * bboxes_xywh[:, 3]
    areas[known] = _to_float64(area for area in stated if area is not None)
    return areas


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


def _read_crowd_flags(table: _Table) -> np.ndarray:
    flags = [record.get('iscrowd', 0) for record in table.records]
    for index, flag in enumerate(flags):
        if flag not in (0, 1):
            raise table.error(index, f"'iscrowd' must be 0 or 1, found {_short(flag)}")
    return np.array(flags, dtype=bool)


def _short(value: Any) -> str:
    """Format a value for a message, which must not carry half of the file."""
    text = reprlib.repr(value)
    return text if len(text) <= SHOWN else f'{text[: SHOWN - 3]}...'
