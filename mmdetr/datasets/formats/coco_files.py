"""COCO JSON of any exporter: Roboflow, CVAT, Label Studio, COCO itself."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmdetr.datasets.box_formats import recognise_format
from mmdetr.datasets.coco_table import LARGEST_SIDE, Table, take_placeholders

from .coco_values import enclosing, numbers, shown_id
from .records import Box, Collection, FormatError, Picture, Problems
from .sizes import ImageSizes
from .text_files import decode, read_bytes
from .tree import SPLIT_NAMES, ImageIndex, Tree, split_of

NAME = 'COCO JSON'
SNIFFED = 2**20
IMAGE_ROOT = 'image_root'  # in ``info``: where our own files have their images
# Files of COCO itself that have other things than boxes, beside those that have.
OTHER_TASKS = ('captions_', 'person_keypoints_', 'panoptic_', 'stuff_', 'image_info_')


def find_coco(files: Iterable[Path]) -> list[Path]:
    """Return the JSON files that look like COCO's by the keys at their beginning or end."""
    found = []
    for path in sorted(files):
        with path.open('rb') as file:
            start = file.read(SNIFFED)
            file.seek(max(0, path.stat().st_size - SNIFFED))
            text = decode(start) + decode(file.read())
        keys = [f'"{key}"' in text for key in ('images', 'annotations', 'categories', 'file_name')]
        if sum(keys) >= 3:
            found.append(path)
    instances = [path for path in found if path.name.startswith('instances_')]
    if instances:
        found = [path for path in found if not path.name.startswith(OTHER_TASKS)]
    return found


@dataclass
class _File:
    """One JSON file: its images by id, class names by id, and its part of the data."""

    path: Path
    content: dict[str, Any]
    parts: frozenset[str]
    names: dict[Any, str] = field(default_factory=dict)
    pictures: dict[Any, Picture] = field(default_factory=dict)


def read_coco(tree: Tree, files: list[Path]) -> Collection:
    """Read annotation files of one data set; classes of the same name are one class.

    Args:
        tree: Files below the folder.
        files: Of :func:`find_coco`.

    Raises:
        FormatError: A file is no COCO JSON, or its boxes are none of COCO's.
    """
    problems = Problems()
    read = [_File(path, _load(path), _parts_of(path, tree)) for path in files]
    index = ImageIndex(_images(tree, read))
    sizes = ImageSizes(index.paths)
    owners: dict[Path, str] = {}
    for path, file in zip(files, read, strict=True):
        _read_categories(file, problems)
        _read_images(file, tree, index, sizes, owners, problems)
        _read_boxes(file, tree.name(path), problems)
    listed = [picture for file in read for picture in file.pictures.values()]
    sizes.note_several(listed, tree, problems)
    known = {picture.path for picture in listed}
    problems.dropped['images that no annotation file lists'] += [
        tree.name(path) for path in index.paths if path not in known
    ]
    names = dict.fromkeys(name for file in read for name in file.names.values())
    return Collection(NAME, list(names), sorted(listed, key=lambda each: each.path), problems)


def _images(tree: Tree, files: list[_File]) -> list[Path]:
    """Return the images that can be meant; files of a conversion of ours say where they are."""
    roots = {str(file.content['info'].get(IMAGE_ROOT)) for file in files}
    if all(Path(root).is_dir() for root in roots):
        return sorted({path for root in roots for path in Tree(Path(root)).images()})
    return tree.images()


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(decode(read_bytes(path)))
    except (ValueError, RecursionError) as error:
        raise FormatError(f'{path} is not valid JSON: {error}') from None
    if not isinstance(content, dict):
        raise FormatError(f'{path} is no COCO JSON: it holds a {type(content).__name__}')
    content.setdefault('annotations', [])
    if not isinstance(content.get('info'), dict):
        content['info'] = {}
    for key in ('images', 'annotations', 'categories'):
        records = content.get(key)
        if not isinstance(records, list):
            raise FormatError(f'{path} has no list of {key}; it is no COCO JSON')
        for row, record in enumerate(records):
            if not isinstance(record, dict):
                raise FormatError(
                    f'{path}: number {row} of {key} must be a record with its id, not '
                    f'{json.dumps(record)[:40]}'
                )
    return content


def _parts_of(path: Path, tree: Tree) -> frozenset[str]:
    """Return the part that a file's name or folder says: instances_val2017, valid/_annotations."""
    words = path.stem.lower().replace('-', '_').replace('.', '_').split('_')
    for word in reversed(words):
        name = word.rstrip('0123456789')
        if name in SPLIT_NAMES:
            return frozenset({SPLIT_NAMES[name]})
    part = split_of(path, tree.root)
    return frozenset({part} if part else ())


def _read_categories(file: _File, problems: Problems) -> None:
    used = {each.get('category_id') for each in file.content['annotations'] if _is_id(each)}
    table = Table(str(file.path), 'categories', file.content)
    take_placeholders(table, used)
    for record in table.records:
        number, name = record.get('id'), record.get('name')
        if not isinstance(number, int | str) or not isinstance(name, str) or not name.strip():
            raise FormatError(
                f'{file.path}: a category without id (a whole number or text) or name: '
                f'{str(record)[:80]}'
            )
        if number in file.names:
            raise FormatError(f'{file.path}: the category id {number} is used twice')
        if name.strip() in file.names.values():
            problems.noted['categories of a name that is there already, taken as one class'].append(
                f'{file.path.name}, category {number}: {name.strip()}'
            )
        file.names[number] = name.strip()


def _is_id(annotation: dict) -> bool:
    return isinstance(annotation.get('category_id'), int | str)


def _read_images(
    file: _File,
    tree: Tree,
    index: ImageIndex,
    sizes: ImageSizes,
    owners: dict[Path, str],
    problems: Problems,
) -> None:
    shown_name = tree.name(file.path)
    for record in file.content['images']:
        number, name = record.get('id'), record.get('file_name')
        place = f'{shown_name}, image {number}'
        if not isinstance(number, int | str) or not isinstance(name, str):
            raise FormatError(
                f'{place}: an image without id (a whole number or text) or file_name: '
                f'{str(record)[:80]}'
            )
        if number in file.pictures:
            raise FormatError(f'{shown_name}: the image id {number} is used twice')
        path, trouble = index.find(name, file.path)
        if path is None:
            problems.dropped['images that are not there'].append(f'{place}: {name} ({trouble})')
            continue
        size = sizes.shown(path)
        if size is None or sizes.problem(path):
            reason = sizes.problem(path) or 'its size cannot be told'
            problems.dropped['images that cannot be used'].append(f'{tree.name(path)}: {reason}')
            continue
        if path in owners:
            problems.dropped['images that are listed twice'].append(
                f'{place}: {name} is {owners[path]} as well'
            )
            continue
        owners[path] = place
        stated = record.get('width'), record.get('height')
        if not all(isinstance(side, int | float) and 1 <= side < LARGEST_SIDE for side in stated):
            problems.repaired['sizes that the JSON does not state, taken from the image'].append(
                place
            )
        elif sizes.fits(path, (int(stated[0]), int(stated[1]))):
            size = int(stated[0]), int(stated[1])
        else:
            problems.dropped['images of another size than the JSON states'].append(
                f'{place}: {name} is {size[0]}x{size[1]}, not {stated[0]}x{stated[1]}'
            )
            continue
        file.pictures[number] = Picture(path, *size, [], file.parts)


def _read_boxes(file: _File, shown_name: str, problems: Problems) -> None:
    known = {record['id'] for record in file.content['images']}
    images, categories = ({str(each): each for each in ids} for ids in (known, file.names))
    for row, record in enumerate(file.content['annotations']):
        place = f'{shown_name}, annotation {record.get("id", f"number {row}")}'
        image_id, category_id = record.get('image_id'), record.get('category_id')
        if not isinstance(image_id, int | str) or image_id not in known:
            reason = 'annotations of an image that the file does not list'
            problems.dropped[reason].append(f'{place}: image_id {shown_id(image_id, images)}')
            continue
        if image_id not in file.pictures:
            problems.dropped['annotations of images that were left out'].append(place)
            continue
        if not isinstance(category_id, int | str) or category_id not in file.names:
            reason = 'annotations of a category that the file does not list'
            shown = shown_id(category_id, categories)
            problems.dropped[reason].append(f'{place}: category_id {shown}')
            continue
        segmentation = record.get('segmentation') or None
        bbox = numbers(record.get('bbox'))
        if bbox is None:
            bbox = enclosing(segmentation)
            if bbox is None:
                problems.dropped['annotations without box'].append(place)
                continue
            problems.repaired['boxes made from their polygons'].append(place)
        x, y, width, height = bbox
        if width < 0 or height < 0:
            problems.dropped['boxes of negative width or height'].append(place)
            continue
        area = record.get('area')
        file.pictures[image_id].boxes.append(
            Box(
                (x, y, x + width, y + height),
                file.names[category_id],
                place,
                segmentation,
                iscrowd=bool(record.get('iscrowd')),
                area=area if isinstance(area, int | float) and 0 < area < math.inf else None,
            )
        )
    _refuse_other_boxes(file)


def _refuse_other_boxes(file: _File) -> None:
    rows = [
        (x1, y1, x2 - x1, y2 - y1, picture.width, picture.height)
        for picture in file.pictures.values()
        for x1, y1, x2, y2 in (box.bbox_xyxy for box in picture.boxes)
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    form = recognise_format(table[:, :4], table[:, 4:])
    if form is not None:
        raise FormatError(
            f'{file.path}: the boxes look like {form}; COCO format is [x, y, width, height] in '
            'pixels: mend what wrote the file'
        )
