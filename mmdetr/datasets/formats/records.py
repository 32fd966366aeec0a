"""What every format is read into, and the count of what was wrong."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path


class FormatError(ValueError):
    """Data that cannot be converted; one line that names what was looked for or found."""


@dataclass
class Box:
    """One object.

    Attributes:
        bbox_xyxy: Edges in pixels of the image, 0 at the left and upper edge: a box of the whole
            image ends at its width and height.
        name: Its class.
        place: File and line, for messages.
        segmentation: COCO's polygons or run lengths; None where there are none.
        iscrowd: Whether it stands for a group.
        area: In pixels, where the file states it.
    """

    bbox_xyxy: tuple[float, float, float, float]
    name: str
    place: str
    segmentation: list | dict | None = None
    iscrowd: bool = False
    area: float | None = None


@dataclass
class Picture:
    """One image file and its objects.

    Attributes:
        path: Absolute.
        width, height: Of the frame that the boxes are in, see ``LoadImageFromFile``.
        boxes: None of them for a background image.
        parts: ``'train'``, ``'val'``, ``'test'``, ``'trainval'``: those of the data it is in.
        split: What it is converted to: train, val or test.
    """

    path: Path
    width: int
    height: int
    boxes: list[Box]
    parts: frozenset[str] = frozenset()
    split: str | None = None


@dataclass
class Problems:
    """Places by what was wrong there.

    Attributes:
        dropped: What is not among the result.
        repaired: What is, but not as it was stated.
        noted: What was understood in one of several ways.
    """

    dropped: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    repaired: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    noted: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


@dataclass
class Collection:
    """A data set as it was found.

    Attributes:
        format: Its name in words.
        classes: In the order that they get their numbers.
        pictures: In the order of their paths.
        problems: What was dropped, repaired and noted.
        conventions: How the format was read, in sentences.
    """

    format: str
    classes: list[str]
    pictures: list[Picture]
    problems: Problems
    conventions: list[str] = field(default_factory=list)
