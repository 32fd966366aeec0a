"""Maps of segment ids, and the PNG files that hold them: id = R + 256 G + 65536 B, 0 is void.

Legend: h w image size in pixels, S segments.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from mmdetr.utils.text import shorten

from .local_files import read_file

LARGEST_ID = 256**3 - 1


def read_panoptic_png(path: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read the ids of an image's segments.

    Args:
        path: Local path or address of a PNG with three channels.
        size: (h, w) that it must have.

    Returns:
        int32 [h, w].

    Raises:
        ValueError: The file is missing, broken, another kind of file, or of another size. The
            message names it.
    """
    try:
        content = read_file(path)
    except FileNotFoundError:
        raise ValueError(f'panoptic PNG {path} does not exist') from None
    except (OSError, ValueError) as error:
        raise ValueError(f'cannot read panoptic PNG {path}: {error}') from None
    try:
        with Image.open(io.BytesIO(content)) as image:
            found = f'{image.format} in mode {image.mode}', image.size[::-1]
            if found[0] not in ('PNG in mode RGB', 'PNG in mode RGBA'):
                raise ValueError(f'it is {found[0]}, where a PNG of three channels holds the ids')
            if size is not None and found[1] != tuple(size):
                raise ValueError(
                    f'it is {image.width}x{image.height} pixels, but the annotation file says '
                    f'{size[1]}x{size[0]}'
                )
            channels = np.asarray(image)[..., :3]
    # Decoders raise whatever a broken file leads them into.
    except Exception as error:
        raise ValueError(f'cannot read panoptic PNG {path}: {error}') from None
    red, green, blue = (channels[..., i].astype(np.int32) for i in range(3))
    return red | green << 8 | blue << 16


def write_panoptic_png(path: Any, ids: np.ndarray) -> None:
    """Write ids [h, w] in 0..256**3 - 1 as a PNG."""
    channels = np.stack((ids, ids >> 8, ids >> 16), axis=-1)
    Image.fromarray((channels & 255).astype(np.uint8)).save(path, format='PNG')


def find_contradiction(ids: np.ndarray, segment_ids: Sequence[int]) -> str | None:
    """Say how a map [h, w] contradicts a list of segments; 0 in the map is void.

    Example:
        >>> find_contradiction(np.array([[0, 7, 9]]), [7, 8])
        'it has ids 9 that the annotation file does not know, and none of ids 8'
    """
    found = set(np.unique(ids).tolist()) - {0}
    unknown, missing = sorted(found - set(segment_ids)), sorted(set(segment_ids) - found)
    problems = []
    if unknown:
        problems.append(f'it has ids {shorten(unknown)} that the annotation file does not know')
    if missing:
        problems.append(f'{"" if problems else "it has "}none of ids {shorten(missing)}')
    return ', and '.join(problems) or None


def segment_bboxes(ids: np.ndarray, segment_ids: Sequence[int]) -> np.ndarray:
    """Return the first and last columns and rows of segments: float32 [S, 4] xyxy.

    As the authors', who take the index of the last pixel for x2 and y2: boxes are one pixel
    narrower than their segments, and those of one row have no height.

    Args:
        ids: [h, w].
        segment_ids: S ids, each of which has a pixel.

    Source: facebookresearch/detr, datasets/coco_panoptic.py and ``masks_to_boxes``.
    """
    if not len(segment_ids):
        return np.zeros((0, 4), dtype=np.float32)
    order = np.sort(np.asarray(segment_ids))
    numbered = np.searchsorted(order, ids)
    numbered[numbered == len(order)] = 0
    known = order[numbered] == ids
    slices = ndimage.find_objects(np.where(known, numbered + 1, 0), max_label=len(order))
    bboxes = np.array(
        [[columns.start, rows.start, columns.stop - 1, rows.stop - 1] for rows, columns in slices],
        dtype=np.float32,
    )
    return bboxes[np.searchsorted(order, segment_ids)]


def segment_masks(ids: np.ndarray, segment_ids: Sequence[int]) -> np.ndarray:
    """Return the pixels of each segment: bool [S, h, w]."""
    masks = np.empty((len(segment_ids), *ids.shape), dtype=bool)
    for mask, segment_id in zip(masks, segment_ids, strict=True):
        np.equal(ids, segment_id, out=mask)
    return masks
