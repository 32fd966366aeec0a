"""What is wrong with boxes that are well-formed, seen before they are clipped or left out."""

from typing import NamedTuple

import numpy as np

from .box_formats import find_repeated, fits_exchanged_size, recognise_format
from .coco_json import CocoJson

# Boxes of this side and more that are equal to the pixel are copies that an exporter rounded.
ROUNDED_SIDE = 8
# Masks are smaller than their boxes, but for rounding, and larger than a hair.
LARGEST_AREA_SHARE, AREA_TOLERANCE, SMALLEST_AREA_SHARE = 1.1, 10.0, 0.001


class Suspicions(NamedTuple):
    """Findings in the boxes of a file; lists of image ids have one entry per box.

    Attributes:
        form: What the boxes look like, if not like COCO's: see :mod:`.box_formats`.
        exchanged_sizes: Paths of images with boxes that leave them, and would not, were they
            turned.
        duplicates: Boxes that stand in the file before, with the same class.
        relabelled: Boxes that stand in the file before, with other classes only.
        unit_boxes: Boxes that lie within 0..1 where others do not, as fractions of an image.
        areas: Boxes whose stated area cannot be that of an object inside.
    """

    form: str | None = None
    exchanged_sizes: list[str] = []
    duplicates: list = []
    relabelled: list = []
    unit_boxes: list = []
    areas: list = []


def look_at_boxes(
    coco: CocoJson, paths: list[str], chosen: np.ndarray, sizes: np.ndarray
) -> Suspicions:
    """Look over the boxes of a file.

    Args:
        coco: Its contents.
        paths: Of the images.
        chosen: [M] the annotations that count.
        sizes: [M, 2] width and height of their images.
    """
    bboxes, images = coco.bboxes_xywh[chosen], coco.image_indices[chosen]
    form = recognise_format(bboxes, sizes)
    exchanged = np.unique(images[fits_exchanged_size(bboxes, sizes)])
    with np.errstate(invalid='ignore'):
        large = (bboxes[:, 2:] >= ROUNDED_SIDE).all(axis=1, keepdims=True)
        place = np.column_stack((images, np.where(large, bboxes.round(), bboxes)))
        unit = (bboxes <= 1).all(axis=1) & (bboxes[:, 2:] < 1).any(axis=1)
    unit &= (sizes.min(axis=1) > 2) & (bboxes >= 0).all(axis=1)
    _, classes = np.unique(coco.category_ids[chosen], return_inverse=True)
    repeated = find_repeated(np.column_stack((place, classes)))

    def image_ids(where: np.ndarray) -> list:
        return [coco.images[index]['id'] for index in images[where]]

    return Suspicions(
        form=form,
        exchanged_sizes=[paths[index] for index in exchanged],
        duplicates=image_ids(repeated),
        relabelled=image_ids(find_repeated(place) & ~repeated),
        unit_boxes=image_ids(unit) if form is None else [],
        areas=image_ids(_impossible_areas(coco.areas[chosen], bboxes)),
    )


def _impossible_areas(areas: np.ndarray, bboxes: np.ndarray) -> np.ndarray:
    with np.errstate(over='ignore', invalid='ignore'):
        box_areas = bboxes[:, 2] * bboxes[:, 3]
        largest = LARGEST_AREA_SHARE * box_areas + AREA_TOLERANCE
        possible = (areas > 0) & (areas >= SMALLEST_AREA_SHARE * box_areas) & (areas <= largest)
    # Boxes without a size are another matter.
    where: np.ndarray = (bboxes[:, 2:] > 0).all(axis=1) & ~possible
    return where
