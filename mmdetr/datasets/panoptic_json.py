"""Read COCO panoptic JSON and refuse what contradicts itself.

Beside the JSON there is a folder with a PNG for each image, whose pixels hold the ids of segments:
see :mod:`.panoptic_maps`.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from .coco_json import _load, _read_categories, _read_images, _short, _Table
from .panoptic_maps import LARGEST_ID


class Segments(NamedTuple):
    """The annotation of one image: its PNG, and its segments as columns of length S.

    Attributes:
        file_name: Of the PNG, in the folder of PNGs.
        ids: 1..256**3 - 1, each once.
        category_ids: Category of each.
        bboxes_xywh: Left, top, width, height in pixels, as stated.
        areas: In pixels, as stated; width x height where not.
        iscrowd: Whether it stands for many objects.
    """

    file_name: str
    ids: list[int]
    category_ids: list[int]
    bboxes_xywh: list[list[float]]
    areas: list[float]
    iscrowd: list[bool]


class PanopticJson(NamedTuple):
    """The checked contents of one file.

    Attributes:
        images: Dicts with ``id``, ``file_name``, ``width`` and ``height``, by ascending id.
        categories: Name by category id, ids ascending.
        isthing: Whether the category is countable, by category id.
        segments: The annotation of each image, in the order of ``images``; None for all where
            the file has no annotations, as for a test set.
    """

    images: list[dict]
    categories: dict[int, str]
    isthing: dict[int, bool]
    segments: Sequence[Segments | None]


def read_panoptic_json(path: str, need_annotations: bool = True) -> PanopticJson:
    """Read and check a COCO panoptic annotation file.

    Images are sorted by id; annotations find their image by its id, in whatever order they are.

    Args:
        path: Local path or address of the JSON file.
        need_annotations: Whether a file without ``annotations`` (as for test-dev) is an error.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no JSON, is one of boxes, lacks a key, repeats a key or an id,
            refers to an unknown one, has an image without annotation or two of one image, or
            holds a value of the wrong type. The message names the file and the id.
    """
    content = _load(path, with_segmentations=False)
    images = _read_images(_Table(path, 'images', content), need_files=True)
    # Numbers and names do not compare, and a file may have both.
    images.sort(key=lambda image: (isinstance(image['id'], str), image['id']))
    category_table = _Table(path, 'categories', content)
    categories = _read_categories(category_table)
    isthing = _read_isthing(category_table)
    if not need_annotations and 'annotations' not in content:
        return PanopticJson(images, categories, isthing, [None] * len(images))

    table = _Table(path, 'annotations', content)
    image_ids = table.column('image_id', int, str)
    _check_one_each(path, image_ids, images)
    lists = _read_lists(table, image_ids)
    columns = zip(table.column('file_name', str), lists, image_ids, strict=True)
    by_image = {
        image_id: _read_segments(path, image_id, name, segments, categories)
        for name, segments, image_id in columns
    }
    segments = [by_image[image['id']] for image in images]
    return PanopticJson(images, categories, isthing, segments)


def _read_isthing(table: _Table) -> dict[int, bool]:
    flags = table.column('isthing', int, bool)
    for index, flag in enumerate(flags):
        if flag not in (0, 1):
            raise table.error(index, f"'isthing' must be 0 or 1, found {_short(flag)}")
    return dict(zip(table.column('id', int), map(bool, flags), strict=True))


def _check_one_each(path: str, image_ids: list, images: list[dict]) -> None:
    """Refuse two annotations of one image, one of an unknown image, and images without."""
    known = {image['id'] for image in images}
    counts = Counter(image_ids)
    repeated = next((each for each, times in counts.items() if times > 1), None)
    if repeated is not None:
        raise ValueError(
            f'{path}: annotations: image_id {_short(repeated)} is used {counts[repeated]} times'
        )
    unknown = [each for each in image_ids if each not in known]
    if unknown:
        raise ValueError(f'{path}: annotations: image_id {_short(unknown[0])} is not in the file')
    without = [image['id'] for image in images if image['id'] not in counts]
    if without:
        raise ValueError(
            f'{path}: {len(without)} images have no annotation, the first is id '
            f'{_short(without[0])}: take them out of images, or annotate them with '
            '"segments_info": [] and a black PNG'
        )


def _read_lists(table: _Table, image_ids: list) -> list[list[dict]]:
    if table.records and all('segments_info' not in record for record in table.records):
        raise ValueError(
            f"{table.path} is no panoptic annotation file: its annotations have no 'segments_info'"
        )
    lists = table.column('segments_info', list)
    for image_id, segments in zip(image_ids, lists, strict=True):
        wrong = next((each for each in segments if not isinstance(each, dict)), None)
        if wrong is not None:
            raise _error(table.path, image_id, f'{_short(wrong)} is not an object')
    return lists


def _read_segments(
    path: str, image_id: Any, file_name: str, segments: list[dict], categories: dict[int, str]
) -> Segments:
    ids = _column(path, image_id, segments, 'id', int)
    if len(set(ids)) < len(ids):
        segment_id, times = Counter(ids).most_common(1)[0]
        raise _error(path, image_id, f'segment id {segment_id} is used {times} times')
    for segment_id in ids:
        if not 0 < segment_id <= LARGEST_ID:
            raise _error(
                path, image_id, f'segment id {segment_id} is not in 1..{LARGEST_ID}, as a PNG holds'
            )
    category_ids = _column(path, image_id, segments, 'category_id', int)
    for segment_id, category_id in zip(ids, category_ids, strict=True):
        if category_id not in categories:
            raise _error(
                path,
                image_id,
                f'category_id {category_id} of segment {segment_id} is not in the file',
            )
    bboxes = _column(path, image_id, segments, 'bbox', list)
    for segment_id, bbox in zip(ids, bboxes, strict=True):
        if len(bbox) != 4 or not _are_finite(bbox):
            raise _error(
                path,
                image_id,
                f"'bbox' of segment {segment_id} must be four numbers, found {_short(bbox)}",
            )
    areas = [
        each.get('area', bbox[2] * bbox[3]) for each, bbox in zip(segments, bboxes, strict=True)
    ]
    crowds = [each.get('iscrowd', 0) for each in segments]
    for segment_id, area, crowd in zip(ids, areas, crowds, strict=True):
        if not _are_finite([area]):
            raise _error(
                path, image_id, f"'area' of segment {segment_id} must be a number, found {area!r}"
            )
        if crowd not in (0, 1):
            raise _error(
                path, image_id, f"'iscrowd' of segment {segment_id} must be 0 or 1, found {crowd!r}"
            )
    return Segments(file_name, ids, category_ids, bboxes, areas, list(map(bool, crowds)))


def _column(path: str, image_id: Any, segments: list[dict], key: str, kind: type) -> list:
    try:
        values = [segment[key] for segment in segments]
    except KeyError:
        raise _error(path, image_id, f"a segment has no key '{key}'") from None
    wrong = next((value for value in values if type(value) is not kind), None)
    if len(values) and not set(map(type, values)) <= {kind}:
        raise _error(
            path, image_id, f"'{key}' of a segment must be {kind.__name__}, found {_short(wrong)}"
        )
    return values


def _are_finite(values: list) -> bool:
    if not set(map(type, values)) <= {int, float}:
        return False
    try:
        return all(map(math.isfinite, values))
    except OverflowError:  # a whole number beyond floats
        return False


def _error(path: str, image_id: Any, problem: str) -> ValueError:
    return ValueError(f'{path}: annotations, image id {_short(image_id)}: {problem}')
