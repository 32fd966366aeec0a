"""Masks of objects as COCO's files state them.

Either polygons, a list of ``[x1, y1, x2, y2, ...]`` in pixels, which together cover the object; or
the run lengths of a bitmap (RLE), ``dict(size=[h, w], counts=...)``: lengths of background and
object in turn, down the columns, as a list or in COCO's compressed text. Crowds have RLEs.
"""

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

PROBLEMS = MISSING, MALFORMED, OTHER_SIZE = (
    'no segmentation',
    'malformed segmentation',
    'segmentation of another image size',
)


def segmentation_problem(segmentation: Any, width: int, height: int) -> str | None:
    """Say why :func:`draw_mask` cannot draw a segmentation.

    pycocotools does not check it: it turns a malformed RLE into a mask of uninitialised memory.

    Args:
        segmentation: Value of the key in the file, of any type.
        width, height: Size of the image in pixels.

    Returns:
        :data:`MISSING`, :data:`MALFORMED` or :data:`OTHER_SIZE`; None for a good one.
    """
    if not segmentation:
        return MISSING
    if isinstance(segmentation, list):
        return None if all(map(_is_polygon, segmentation)) else MALFORMED
    if not isinstance(segmentation, dict):
        return MALFORMED
    counts: Any = segmentation.get('counts')
    if isinstance(counts, str):
        counts = _decompress(counts)
    size = segmentation.get('size')
    if not (_is_whole_numbers(counts) and _is_whole_numbers(size)):
        return MALFORMED
    fits = size == [height, width] and sum(counts) == height * width
    return None if fits else OTHER_SIZE


def find_bad_segmentations(segmentations: list, image_sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Find segmentations that cannot be drawn.

    Args:
        segmentations: M values as stated in the file.
        image_sizes: [M, 2] width and height of each one's image.

    Returns:
        [M] bool masks by problem, see :func:`segmentation_problem`.
    """
    found = np.array(
        [
            segmentation_problem(segmentation, width, height)
            for segmentation, (width, height) in zip(
                segmentations, image_sizes.tolist(), strict=True
            )
        ],
        dtype=object,
    )
    return {reason: found == reason for reason in PROBLEMS}


def draw_mask(segmentation: list | dict, width: int, height: int) -> np.ndarray:
    """Draw a segmentation without problems.

    Returns:
        bool [h, w]. May be empty, as where a polygon is thinner than a pixel.
    """
    return coco_mask.decode(to_rle(segmentation, width, height)).view(bool)


def to_rle(segmentation: list | dict, width: int, height: int) -> dict:
    """Return a segmentation without problems as compressed run lengths."""
    if isinstance(segmentation, dict):
        if isinstance(segmentation['counts'], list):
            return coco_mask.frPyObjects(segmentation, height, width)
        return segmentation
    polygons = [_near_image(polygon, width, height) for polygon in segmentation]
    return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))


def _is_polygon(value: Any) -> bool:
    if not isinstance(value, list) or len(value) < 6 or len(value) % 2:
        return False
    if not set(map(type, value)) <= {int, float}:
        return False
    try:
        return bool(np.isfinite(np.array(value, dtype=np.float64)).all())
    except OverflowError:  # a whole number beyond floats
        return False


def _is_whole_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)


def _near_image(polygon: list, width: int, height: int) -> np.ndarray:
    """Clip corners far away: pycocotools allocates memory for every pixel of the outline."""
    corners = np.array(polygon, dtype=np.float64).reshape(-1, 2)
    return corners.clip((-width, -height), (2 * width, 2 * height)).ravel()


def _decompress(text: str) -> list[int] | None:
    """Return the run lengths of COCO's compressed form; None where it breaks off or is no such.

    A character holds five bits of a number, the lowest first, and whether more follow. From the
    fourth on, a number is the difference from the last but one.
    """
    counts: list[int] = []
    number = shift = 0
    for char in text.encode(errors='surrogatepass'):
        bits = char - 48
        if not 0 <= bits < 64 or shift > 30:
            return None
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                number -= 1 << shift
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number = shift = 0
    return None if shift else counts
