"""Reads COCO detection JSON and refuses what would otherwise train on wrong data."""

import json
from collections import Counter
from typing import Any, NamedTuple

import mmengine.fileio as fileio
import numpy as np


class CocoJson(NamedTuple):
    """The checked contents of one file; annotations as columns of length M.

    Attributes:
        images: Dicts with ``id`` (int or str), ``file_name``, ``width``, ``height``, in file order.
        categories: Name by category id, ids ascending.
        image_indices: [M] int64, position of the annotation's image in ``images``.
        category_ids: [M] int64.
        bboxes_xywh: [M, 4] float64, left, top, width, height in pixels, as stated.
        iscrowd: [M] bool.
    """

    images: list[dict]
    categories: dict[int, str]
    image_indices: np.ndarray
    category_ids: np.ndarray
    bboxes_xywh: np.ndarray
    iscrowd: np.ndarray


def read_coco_json(path: str, need_annotations: bool = True) -> CocoJson:
    """Reads and checks a COCO annotation file.

    Args:
        path: Local path or address of the JSON file.
        need_annotations: Whether a file without ``annotations`` (as for test-dev) is an error.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no JSON, lacks a key, repeats an id, refers to an unknown one, or
            holds a value of the wrong type. The message names the file and the id.
    """
    content = _load(path)
    images = _read_images(_Table(path, 'images', content))
    categories = _read_categories(_Table(path, 'categories', content))
    if not need_annotations:
        content.setdefault('annotations', [])
    table = _Table(path, 'annotations', content)
    table.unique_ids(int)

    index_of = {image['id']: index for index, image in enumerate(images)}
    image_ids = table.column('image_id', int, str)
    table.check_known('image_id', image_ids, index_of)
    category_ids = table.column('category_id', int)
    table.check_known('category_id', category_ids, categories)
    return CocoJson(
        images=images,
        categories=categories,
        image_indices=np.array([index_of[image_id] for image_id in image_ids], dtype=np.int64),
        category_ids=np.array(category_ids, dtype=np.int64),
        bboxes_xywh=_read_bboxes(table),
        iscrowd=_read_crowd_flags(table),
    )


def _load(path: str) -> dict:
    try:
        content = json.loads(fileio.get(path), object_hook=_without_segmentation)
    except FileNotFoundError:
        raise FileNotFoundError(
            f'annotation file {path} does not exist; check data_root and ann_file'
        ) from None
    except ValueError as error:
        raise ValueError(f'{path} is not valid JSON: {error}') from error
    if not isinstance(content, dict):
        raise ValueError(
            f'{path} is not a COCO annotation file: it holds a {type(content).__name__} instead of '
            'an object with images, annotations and categories'
        )
    return content


def _without_segmentation(record: dict) -> dict:
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
        which = f'the one with id {record["id"]!r}' if known else f'number {index}'
        return ValueError(f'{self.path}: {self.name}, {which}: {problem}')

    def column(self, key: str, *types: type) -> list:
        """The values of a key that every record must have; bool does not count as int."""
        try:
            values = [record[key] for record in self.records]
        except (KeyError, TypeError):
            index, record = next(
                (index, record)
                for index, record in enumerate(self.records)
                if not isinstance(record, dict) or key not in record
            )
            if not isinstance(record, dict):
                raise self.error(index, f'{record!r} is not an object') from None
            raise self.error(index, f"the key '{key}' is missing") from None
        if not set(map(type, values)) <= set(types):
            index = next(index for index, value in enumerate(values) if type(value) not in types)
            names = ' or '.join(each.__name__ for each in types)
            raise self.error(index, f"'{key}' must be {names}, found {values[index]!r}")
        return values

    def unique_ids(self, *types: type) -> list:
        ids = self.column('id', *types)
        if len(set(ids)) < len(ids):
            repeated, times = Counter(ids).most_common(1)[0]
            raise ValueError(f'{self.path}: {self.name}: id {repeated!r} is used {times} times')
        return ids

    def check_known(self, key: str, values: list, known: dict) -> None:
        unknown = set(values) - known.keys()
        if unknown:
            index = next(index for index, value in enumerate(values) if value in unknown)
            raise self.error(index, f'{key} {values[index]!r} is not in the file')


def _read_images(table: _Table) -> list[dict]:
    if not table.records:
        raise ValueError(f'{table.path} lists no images')
    names = table.column('file_name', str)
    sizes = {side: table.column(side, int, float) for side in ('width', 'height')}
    for side, values in sizes.items():
        for index, value in enumerate(values):
            if not (value > 0 and value % 1 == 0):
                raise table.error(index, f"'{side}' must be a positive whole number, found {value}")
    columns = zip(table.unique_ids(int, str), names, sizes['width'], sizes['height'], strict=True)
    return [
        dict(id=image_id, file_name=name, width=int(width), height=int(height))
        for image_id, name, width, height in columns
    ]


def _read_categories(table: _Table) -> dict[int, str]:
    if not table.records:
        raise ValueError(f'{table.path} lists no categories')
    categories = dict(sorted(zip(table.unique_ids(int), table.column('name', str), strict=True)))
    name, times = Counter(categories.values()).most_common(1)[0]
    if times > 1:
        ids = [cat_id for cat_id, each in categories.items() if each == name]
        raise ValueError(f'{table.path}: categories {ids} share the name {name!r}; rename them')
    return categories


def _read_bboxes(table: _Table) -> np.ndarray:
    values = table.column('bbox', list)
    try:
        bboxes = np.array(values or np.zeros((0, 4)))
    except ValueError:  # lists of different lengths
        bboxes = None
    if bboxes is None or bboxes.shape != (len(values), 4) or bboxes.dtype.kind not in 'iuf':
        for index, bbox in enumerate(values):
            if len(bbox) != 4 or not all(type(number) in (int, float) for number in bbox):
                raise table.error(index, f"'bbox' must be four numbers, found {bbox}")
        # Whole numbers beyond 64 bits; as floats they are merely outside the image.
        bboxes = np.array([[float(number) for number in bbox] for bbox in values])
    return bboxes.astype(np.float64)


def _read_crowd_flags(table: _Table) -> np.ndarray:
    flags = [record.get('iscrowd', 0) for record in table.records]
    for index, flag in enumerate(flags):
        if flag not in (0, 1):
            raise table.error(index, f"'iscrowd' must be 0 or 1, found {flag!r}")
    return np.array(flags, dtype=bool)
