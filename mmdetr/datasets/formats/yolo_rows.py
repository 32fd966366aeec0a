"""What YOLO's rows mean, by what all of them have in common: one row alone may be anything."""

from collections import Counter
from pathlib import Path

import numpy as np

from mmdetr.datasets.box_formats import CENTRES, recognise_format

from .records import FormatError

# Three keypoints; two would have as many numbers as a polygon of four corners.
LEAST_KEYPOINT_VALUES = 10
KEYPOINT_SHARE = 0.9
KEYPOINT_ROWS = 3  # polygons lie so by chance
MARGIN = 0.6  # of a side of the box, from its centre: a keypoint may be annotated just outside


class RowWatch:
    """Collects the rows of all files, and refuses what cannot be meant as it is read.

    Args:
        num_classes: That the data name.
        num_keypoints: Values that keypoints add to a row, as the data say.
    """

    def __init__(self, num_classes: int, num_keypoints: int) -> None:
        self.num_classes, self.num_keypoints = num_classes, num_keypoints
        self.rows = self.no_fractions = self._long_rows = 0
        self._labels = Counter[float]()
        self._keypoints = Counter[tuple[int, int]]()
        self._boxes: list[tuple[float, ...]] = []

    def add(self, label: float, values: list[float]) -> None:
        """Take in the numbers of a row."""
        self._labels[label] += 1
        if len(values) > 5 and len(values) != 4 + self.num_keypoints:
            self._long_rows += 1
            shape = keypoint_shape(values)
            if shape is not None:
                self._keypoints[shape] += 1

    def add_box(self, cxcywh: list[float], size: tuple[int, int]) -> None:
        """Take in a box in fractions of an image of (w, h)."""
        pixels = (value * side for value, side in zip(cxcywh, size * 2, strict=True))
        self._boxes.append((*pixels, *size))

    def check(self, root: Path) -> None:
        """Look at all rows.

        Raises:
            FormatError: They are something else than what they are read as.
        """
        for (number, dimensions), count in self._keypoints.most_common(1):
            sure = dimensions == 3 or count >= KEYPOINT_ROWS
            if sure and count >= KEYPOINT_SHARE * self._long_rows:
                raise FormatError(
                    f'{root}: {count} rows look like a box with {number} keypoints behind it: say '
                    f'so in data.yaml, kpt_shape: [{number}, {dimensions}]'
                )
        if self.no_fractions > self.rows / 2:
            raise FormatError(
                f'{root}: {self.no_fractions} of {self.rows} rows are not class cx cy w h in '
                'fractions of the image (0..1): divide pixels by width and height'
            )
        self._check_labels(root)
        table = np.array(self._boxes, dtype=np.float64).reshape(-1, 6)
        form = recognise_format(table[:, :4], table[:, 4:], CENTRES)
        if form is not None:
            raise FormatError(
                f'{root}: the boxes look like {form} in fractions of the image; YOLO format is '
                'class cx cy w h with the centre first: mend what wrote the rows'
            )

    def _check_labels(self, root: Path) -> None:
        number = self.num_classes
        if 0 not in self._labels and max(self._labels, default=0) == number:
            raise FormatError(
                f'{root}: the rows have classes from {min(self._labels):g} to {number}, but the '
                f'{number} names count from 0: take 1 from the numbers, or name class 0 as well'
            )
        unknown = sum(n for label, n in self._labels.items() if not 0 <= label < number)
        if unknown > sum(self._labels.values()) / 2:
            raise FormatError(
                f'{root}: {unknown} of {sum(self._labels.values())} rows have a class beyond the '
                f'{number} names (the largest is {max(self._labels):g}): names and label files do '
                'not belong together'
            )


def keypoint_shape(values: list[float]) -> tuple[int, int] | None:
    """Return number and dimensions of the keypoints that a row may have behind its box.

    Args:
        values: Of the row, without the class: as a box, all points behind it lie inside, or are
            zeros where they are not annotated. Of three dimensions the last is 0, 1 or 2.

    Example:
        >>> keypoint_shape([0.5, 0.5, 0.2, 0.2, 0.45, 0.5, 2, 0, 0, 0])
        (2, 3)
    """
    cx, cy, width, height = values[:4]
    for dimensions in (3, 2):
        rest = values[4:]
        if len(values) < LEAST_KEYPOINT_VALUES or len(rest) % dimensions:
            continue
        if dimensions == 3 and not set(rest[2::3]) <= {0.0, 1.0, 2.0}:
            continue
        points = set(zip(rest[::dimensions], rest[1::dimensions], strict=True)) - {(0.0, 0.0)}
        if points and all(
            abs(x - cx) <= MARGIN * width and abs(y - cy) <= MARGIN * height for x, y in points
        ):
            return len(rest) // dimensions, dimensions
    return None
