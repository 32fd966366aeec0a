"""Read COCO files block by block, in a fraction of the time and memory that whole ones take.

Only files without any fault come through: where something is missing, of another type, repeated or
unusual, the caller reads the file as a whole, with words for what is wrong. So this module may say
no too often, never yes.
"""

import contextlib
import importlib
import re
from functools import cache
from itertools import chain
from operator import attrgetter
from typing import Any, BinaryIO

import numpy as np

from .coco_columns import AnnotationColumns, complete_areas
from .json_source import Decode, JsonSource, UnusualError

msgspec: Any = None
with contextlib.suppress(ImportError):  # as on a Python that is newer than its wheels
    msgspec = importlib.import_module('msgspec')

IN_NUMBERS = b'0123456789.,- []'
ESCAPED_LETTER = re.compile(rb'\\u00[4-7]')


def read_stream(file: BinaryIO, need_files: bool, with_segmentations: bool) -> dict | None:
    """Read a COCO file; None where it has to be read as a whole.

    Args:
        file: At its beginning.
        need_files: Whether images have to state names and sizes.
        with_segmentations: Whether polygons and RLEs are kept.

    Returns:
        The object of the file: ``images`` a list of dicts with what was asked for,
        ``annotations`` as :class:`AnnotationColumns`, the rest as it is. Types are right; ids and
        references are not checked.
    """
    if msgspec is None:
        return None
    decode_images, decode_annotations = _decoders(need_files, with_segmentations)
    found: dict[str, Any] = {}
    as_dict = msgspec.structs.asdict
    source = JsonSource(file)
    try:
        for key in source:
            if key in found:
                return None
            if key == 'images':
                blocks = source.records(decode_images)
                found[key] = [each for block in blocks for each in map(as_dict, block)]
            elif key == 'annotations':
                found[key] = _join(
                    [_columns(records) for records in source.records(decode_annotations)],
                    with_segmentations,
                )
            else:
                found[key] = source.value()
    except (ValueError, RecursionError):
        return None
    return found


@cache
def _decoders(need_files: bool, with_segmentations: bool) -> tuple[Decode, Decode]:
    """Return what turns the text of a list of images, and of annotations, into records."""
    number, name = int | float, int | str
    image: dict = dict(id=name)
    if need_files:
        image |= dict(file_name=str, width=number, height=number)
    box = tuple[float, float, float, float]
    annotation = dict(id=int, image_id=name, category_id=int, bbox=box)
    optional: dict = dict(area=float | None, iscrowd=number | bool | None)
    if with_segmentations:
        optional['segmentation'] = Any
    return _decoder(image, {}), _decoder(annotation, optional)


def _decoder(required: dict[str, Any], optional: dict[str, Any]) -> Decode:
    fields = [*required.items(), *((key, kind, None) for key, kind in optional.items())]
    record = msgspec.defstruct('Record', fields, gc=False)
    decoder = msgspec.json.Decoder(list[record])  # type: ignore[valid-type]

    def decode(text: bytes) -> list | None:
        try:
            records: list = decoder.decode(text)
        except msgspec.DecodeError:
            return None
        _check_text(text, records, tuple(required), tuple(optional))
        return records

    return decode


def _columns(records: list) -> AnnotationColumns:
    def column(key: str) -> list:
        return list(map(attrgetter(key), records))

    numbers = chain.from_iterable(column('bbox'))
    bboxes = np.fromiter(numbers, np.float64, 4 * len(records)).reshape(-1, 4)
    areas = np.array(column('area'), dtype=np.float64)  # None becomes nan
    complete_areas(areas, np.isnan(areas), bboxes)
    flags = column('iscrowd')
    if not set(flags) <= {0, 1, None}:
        raise UnusualError
    with_segmentations = bool(records) and hasattr(records[0], 'segmentation')
    return AnnotationColumns(
        ids=column('id'),
        image_ids=column('image_id'),
        category_ids=column('category_id'),
        bboxes_xywh=bboxes,
        areas=areas,
        iscrowd=np.array(flags, dtype=bool),
        segmentations=column('segmentation') if with_segmentations else None,
    )


def _join(parts: list[AnnotationColumns], with_segmentations: bool) -> AnnotationColumns:
    """Put the columns of all blocks together."""
    segmentations = [each for part in parts for each in part.segmentations or ()]
    return AnnotationColumns(
        ids=[each for part in parts for each in part.ids],
        image_ids=[each for part in parts for each in part.image_ids],
        category_ids=[each for part in parts for each in part.category_ids],
        bboxes_xywh=np.concatenate([np.empty((0, 4)), *(part.bboxes_xywh for part in parts)]),
        areas=np.concatenate([np.empty(0), *(part.areas for part in parts)]),
        iscrowd=np.concatenate([np.empty(0, dtype=bool), *(part.iscrowd for part in parts)]),
        segmentations=segmentations if with_segmentations else None,
    )


def _check_text(
    text: bytes, records: list, required: tuple[str, ...], optional: tuple[str, ...]
) -> None:
    """Refuse text that says a key twice, or is no UTF-8, which the decoder passes over."""
    expected = dict.fromkeys(required + optional, len(records))
    for key in optional:
        expected[key] -= list(map(attrgetter(key), records)).count(None)
    if 'segmentation' in optional:
        dicts = [each for r in records if isinstance(each := r.segmentation, dict)]
        expected |= {key: sum(key in each for each in dicts) for key in ('size', 'counts')}
    # Keys inside of other values, too, are counted: then the file is read as a whole. Most of the
    # text are polygons; without their characters it is counted through in a fraction of the time.
    words = text.translate(None, IN_NUMBERS)
    if any(words.count(f'"{key}"'.encode()) != count for key, count in expected.items()):
        raise UnusualError
    if b'\\u00' in text and ESCAPED_LETTER.search(text):  # may be a key
        raise UnusualError
    if not text.isascii():
        text.decode()
