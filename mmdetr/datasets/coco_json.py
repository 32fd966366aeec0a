"""Read COCO detection JSON and refuse what would otherwise train or score on wrong data."""

import contextlib
import io
from typing import NamedTuple

import numpy as np

from mmdetr.utils.files import check_regular

from .coco_columns import AnnotationColumns, read_columns
from .coco_stream import read_stream
from .coco_table import (
    Table,
    check_unique,
    load_content,
    read_categories,
    read_images,
    short,
    take_placeholders,
)
from .local_files import is_local, read_file


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
    content = _load(path, need_files, with_segmentations)
    if not need_annotations:
        content.setdefault('annotations', [])
    images = read_images(Table(path, 'images', content), need_files)
    columns = content.get('annotations')
    if not isinstance(columns, AnnotationColumns):
        columns = read_columns(Table(path, 'annotations', content), with_segmentations)
    category_table = Table(path, 'categories', content)
    placeholders = take_placeholders(category_table, set(columns.category_ids))
    categories = read_categories(category_table)

    check_unique(path, 'annotations', columns.ids)
    index_of = {image['id']: index for index, image in enumerate(images)}
    _check_known(path, columns, 'image_id', columns.image_ids, index_of)
    _check_known(path, columns, 'category_id', columns.category_ids, categories)
    return CocoJson(
        images=images,
        categories=categories,
        image_indices=np.array([index_of[each] for each in columns.image_ids], dtype=np.int64),
        category_ids=np.array(columns.category_ids, dtype=np.int64),
        bboxes_xywh=columns.bboxes_xywh,
        areas=columns.areas,
        iscrowd=columns.iscrowd,
        segmentations=columns.segmentations,
        placeholders=placeholders,
    )


def _load(path: str, need_files: bool, with_segmentations: bool) -> dict:
    """Return the three lists; annotations as columns where nothing is wrong or unusual."""
    with contextlib.suppress(OSError, ValueError):  # said below
        if is_local(path):
            check_regular(path)
            with open(path, 'rb') as file:
                content = read_stream(file, need_files, with_segmentations)
        else:
            content = read_stream(io.BytesIO(read_file(path)), need_files, with_segmentations)
        if content is not None:
            return content
    return load_content(path, with_segmentations)


def _check_known(
    path: str, columns: AnnotationColumns, key: str, values: list, known: dict
) -> None:
    unknown = set(values) - known.keys()
    if unknown:
        index = next(index for index, value in enumerate(values) if value in unknown)
        raise ValueError(
            f'{path}: annotations, the one with id {short(columns.ids[index])}: {key} '
            f'{short(values[index])} is not in the file'
        )
