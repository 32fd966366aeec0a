"""Recognise boxes that a file states in another form than the one that it is in."""

import numpy as np

# Share of boxes that has to leave its image before another reading is looked for ...
LEAVING_SHARE = 0.2
# ... and with so many boxes a smaller one will do, as of small objects stated by their centres.
MANY, LEAVING_SHARE_OF_MANY = 100, 0.02
FITTING_SHARE = 0.99
LEAST_LEAVING = 4  # where files of a few boxes are mended one by one: exchanged corners of VOC
TOLERANCE = 1.0  # pixels
PERCENT_SIDE = 200  # pixels; boxes of larger images do not all end before 100 by chance

NORMALISED = 'fractions of the image (0..1)'
PERCENT = 'percent of the image (0..100)'
LTWH = '[x, y, width, height]'
XYXY = '[x1, y1, x2, y2]'
CENTRES = '[centre x, centre y, width, height]'
SWAPPED = 'those of images whose width and height are exchanged, or [y, x, height, width]'


def recognise_format(bboxes: np.ndarray, image_sizes: np.ndarray, asked: str = LTWH) -> str | None:
    """Say what boxes are that cannot be what was asked for; None where they can, or nothing fits.

    A reading is taken where as good as all boxes stay inside their images with it and many leave
    them in the form that was asked for.

    Args:
        bboxes: [M, 4] as stated in the file, in pixels.
        image_sizes: [M, 2] width and height of each box's image.
        asked: The form of the file: ``LTWH`` of COCO, ``XYXY`` of Pascal VOC or ``CENTRES`` of
            YOLO.

    Returns:
        One of the constants of this module, in words for messages.
    """
    usable = np.isfinite(bboxes).all(axis=1) & (bboxes[:, 2:] > 0).all(axis=1)
    bboxes, image_sizes = bboxes[usable], image_sizes[usable]
    if not len(bboxes):
        return None
    with np.errstate(over='ignore', invalid='ignore'):  # infinite ones leave their images
        return _scale(bboxes, image_sizes, asked) or _reading(bboxes, image_sizes, asked)


def _scale(bboxes: np.ndarray, image_sizes: np.ndarray, asked: str) -> str | None:
    if (image_sizes.min(axis=1) > 2).all() and (bboxes <= 1).all():
        return NORMALISED
    ends = bboxes[:, 2:] if asked == XYXY else bboxes[:, :2] + bboxes[:, 2:]
    large = image_sizes.min() >= PERCENT_SIDE and len(bboxes) >= MANY
    # The furthest boxes end near 100, not at some other place.
    if large and (ends <= 101).all() and (ends.max(axis=0) > 90).all():
        return PERCENT
    return None


def _reading(bboxes: np.ndarray, image_sizes: np.ndarray, asked: str) -> str | None:
    first, second = bboxes[:, :2], bboxes[:, 2:]
    readings = {
        LTWH: _inside(first, first + second, image_sizes),
        XYXY: _inside(first, second, image_sizes) & (second > first).all(axis=1),
        CENTRES: _inside(first - second / 2, first + second / 2, image_sizes),
    }
    leaving = 1 - _share(readings.pop(asked))
    many = len(bboxes) >= MANY
    if leaving <= (LEAVING_SHARE_OF_MANY if many else LEAVING_SHARE):
        return None
    if asked != LTWH and leaving * len(bboxes) < LEAST_LEAVING:
        return None
    if leaving > LEAVING_SHARE and asked == LTWH:
        readings[SWAPPED] = _inside(first, first + second, image_sizes[:, ::-1])
    shares = {name: _share(fits) for name, fits in readings.items()}
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] > FITTING_SHARE else None


def _inside(low: np.ndarray, high: np.ndarray, image_sizes: np.ndarray) -> np.ndarray:
    inside: np.ndarray = (low >= -TOLERANCE) & (high <= image_sizes + TOLERANCE)
    return inside.min(axis=1, initial=True)


def _share(where: np.ndarray) -> float:
    return float(where.mean())


def fits_exchanged_size(bboxes: np.ndarray, image_sizes: np.ndarray) -> np.ndarray:
    """Return [M] bool: the box leaves its image, and would not with width and height exchanged."""
    with np.errstate(over='ignore', invalid='ignore'):
        first, end = bboxes[:, :2], bboxes[:, :2] + bboxes[:, 2:]
        stated = _inside(first, end, image_sizes)
        return ~stated & _inside(first, end, image_sizes[:, ::-1])


def find_repeated(rows: np.ndarray) -> np.ndarray:
    """Return [M] bool, True where a row of [M, C] numbers stands further up as well."""
    repeated = np.zeros(len(rows), dtype=bool)
    if not len(rows):
        return repeated
    # Equal rows have equal sums, and few others do: sorting numbers is fast, sorting rows is not.
    with np.errstate(over='ignore', invalid='ignore'):
        sums = sum(column * (np.pi + i) ** (i / 3) for i, column in enumerate(rows.T))
    _, group, counts = np.unique(sums, return_inverse=True, return_counts=True)
    likely = (counts[group] > 1).nonzero()[0]
    if len(likely):
        _, first = np.unique(rows[likely], axis=0, return_index=True)
        repeated[likely] = True
        repeated[likely[first]] = False
    return repeated
