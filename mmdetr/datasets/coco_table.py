"""The lists of a COCO annotation file, and the words for what is wrong in them."""

import json
import reprlib
from collections import Counter
from collections.abc import Set
from functools import partial
from typing import Any

import numpy as np

from mmdetr.utils.files import describe_other_content

from .local_files import read_file

SHOWN = 80  # characters of a value in a message
LARGEST_SIDE = 2**31 - 1  # no image format states more
INT64 = np.iinfo(np.int64)
BACKGROUNDS = ('_background_', '__background__', 'background')


def load_content(path: str, with_segmentations: bool) -> dict:
    """Read a whole file; an object that says a key twice is refused.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no JSON file that holds an object.
    """
    hook = partial(_record, with_segmentations=with_segmentations)
    data = _read(path)
    try:
        content = json.loads(data, object_pairs_hook=hook)
    except ValueError as error:
        reason = describe_other_content(data) or error
        raise ValueError(f'{path} is not valid JSON: {reason}') from error
    except RecursionError:
        raise ValueError(f'{path} is not valid JSON: it is nested too deep') from None
    if not isinstance(content, dict):
        raise ValueError(
            f'{path} is not a COCO annotation file: it holds a {type(content).__name__} instead of '
            'an object with images, annotations and categories'
        )
    return content


def _read(path: str) -> bytes:
    try:
        return read_file(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f'annotation file {path} does not exist; check data_root and ann_file'
        ) from None
    except ValueError as error:
        raise ValueError(f'{path} is not valid JSON: {error}') from None


def _record(pairs: list[tuple[str, Any]], with_segmentations: bool) -> dict:
    record = dict(pairs)
    if len(record) < len(pairs):
        key, times = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f'an object has the key {short(key)} {times} times')
    if not with_segmentations:
        # Polygons are most of COCO's files; dropped while parsing they never fill the memory.
        record.pop('segmentation', None)
    return record


class Table:
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
        which = f'the one with id {short(record["id"])}' if known else f'number {index}'
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
                raise self.error(index, f'{short(record)} is not an object') from None
            raise self.error(index, f"the key '{key}' is missing") from None
        if not set(map(type, values)) <= set(types):
            index = next(index for index, value in enumerate(values) if type(value) not in types)
            names = ' or '.join(each.__name__ for each in types)
            raise self.error(index, f"'{key}' must be {names}, found {short(values[index])}")
        return values

    def unique_ids(self, *types: type) -> list:
        ids = self.column('id', *types)
        check_unique(self.path, self.name, ids)
        return ids


def check_unique(path: str, name: str, ids: list) -> None:
    if len(set(ids)) < len(ids):
        repeated, times = Counter(ids).most_common(1)[0]
        raise ValueError(f'{path}: {name}: id {short(repeated)} is used {times} times')


def read_images(table: Table, need_files: bool) -> list[dict]:
    """Return dicts with ``id`` and, if asked for, ``file_name``, ``width`` and ``height``."""
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
                    f"'{side}' must be a positive whole number below 2**31, found {short(value)}",
                )
    columns = zip(ids, names, sizes['width'], sizes['height'], strict=True)
    return [
        dict(id=image_id, file_name=name, width=int(width), height=int(height))
        for image_id, name, width, height in columns
    ]


def read_categories(table: Table) -> dict[int, str]:
    """Return name by category id, ids ascending."""
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
            f'{table.path}: categories {ids} share the name {short(name)}; rename them'
        )
    return categories


def take_placeholders(table: Table, used: Set) -> dict[int, str]:
    """Take the category out of the table that an exporter adds and nobody annotates with.

    Roboflow lists the project itself, with supercategory 'none', as id 0 and makes it the
    supercategory of the others; labelme lists its background.

    Args:
        table: Of the categories.
        used: Category ids of the annotations.
    """
    records = [each for each in table.records if isinstance(each, dict)]
    parents = {str(each.get('supercategory')) for each in records if each.get('id') != 0}
    found: dict[int, str] = {}
    for each in records:
        if type(each.get('id')) is not int or each['id'] != 0 or len(records) == 1:
            continue
        name = each.get('name')
        if not isinstance(name, str) or 0 in used:
            continue
        parent = each.get('supercategory') == 'none' and parents == {name}
        if parent or name.lower() in BACKGROUNDS:
            found[0] = name
            table.records = [other for other in table.records if other is not each]
    return found


def short(value: Any) -> str:
    """Format a value for a message, which must not carry half of the file."""
    text = reprlib.repr(value)
    return text if len(text) <= SHOWN else f'{text[: SHOWN - 3]}...'
