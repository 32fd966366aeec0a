"""YOLO's label files: a row of fractions of the image for each object.

Rows: ``class cx cy w h``, all but the class in 0..1 of the image as viewers show it, perhaps with a
confidence behind; or ``class x1 y1 x2 y2 x3 y3 ...``, the corners of a polygon, whose enclosing box
is taken. With ``kpt_shape`` in data.yaml, rows are a box and keypoints, and the keypoints are left
out. A file without rows, or no file, is a background image.
"""

import math
from collections import Counter
from pathlib import Path

from .records import Box, Collection, FormatError, Picture, Problems
from .sizes import ImageSizes
from .text_files import read_text, split_numbers
from .tree import Tree
from .yolo_layout import find_names, find_splits, label_file, label_files

NAME = 'YOLO'
# Rounded fractions may pass 1; coordinates in pixels are far from it.
MOST = 1.5


def read_yolo(tree: Tree, yaml_file: Path | None) -> Collection:
    """Read all images below a folder with their label files.

    Args:
        tree: Files below the folder.
        yaml_file: ``data.yaml``; None where there is none.

    Raises:
        FormatError: There is no image, or most rows are no fractions of their images.
    """
    problems = Problems()
    names, num_keypoints = find_names(tree, yaml_file, problems)
    splits = find_splits(tree, yaml_file, problems)
    paths = sorted({*tree.images(), *splits})
    if not paths:
        raise FormatError(f'{tree.root}: label files of YOLO, but no images')
    sizes = ImageSizes(paths)
    labels = {path: label_file(path) for path in paths}
    pictures, totals = [], Counter[str]()
    for path in paths:
        size = sizes.shown(path)
        if size is None or sizes.problem(path):
            reason = sizes.problem(path) or 'its size cannot be told'
            problems.dropped['images that cannot be used'].append(f'{tree.name(path)}: {reason}')
            continue
        file, boxes = labels[path], []
        if file is None:
            problems.noted['images without label file, taken as background'].append(tree.name(path))
        else:
            boxes = _read_rows(file, tree.name(file), names, size, num_keypoints, problems, totals)
        if splits and path not in splits:
            problems.dropped['images in none of the parts (train, val, test)'].append(
                tree.name(path)
            )
            continue
        pictures.append(
            Picture(path, *size, boxes, frozenset({splits[path]} if path in splits else ()))
        )
    used = {path for path in labels.values() if path}
    problems.dropped['label files without image'] += [
        tree.name(path) for path in label_files(tree) if path not in used
    ]
    if totals['no fractions'] > totals['rows'] / 2:
        raise FormatError(
            f'{tree.root}: {totals["no fractions"]} of {totals["rows"]} rows are not '
            'class cx cy w h in fractions of the image (0..1): divide pixels by width and height'
        )
    return Collection(NAME, names, pictures, problems)


def _read_rows(
    file: Path,
    shown_name: str,
    names: list[str],
    size: tuple[int, int],
    num_keypoints: int,
    problems: Problems,
    totals: Counter[str],
) -> list[Box]:
    boxes = []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        line = line.strip('\ufeff \t\x00')
        if not line or line.startswith('#'):
            continue
        place = f'{shown_name}, line {number}'
        words, commas = split_numbers(line)
        numbers = _numbers(words)
        totals['rows'] += 1
        if commas:
            problems.repaired['rows with decimal commas'].append(place)
        if numbers is None or len(numbers) < 5:
            problems.dropped['rows that are no box'].append(f'{place}: {line[:40]!r}')
            continue
        label, values = numbers[0], numbers[1:]
        if not (label.is_integer() and 0 <= label < len(names)):
            problems.dropped['boxes of a class that data.yaml does not name'].append(
                f'{place}: class {words[0]}'
            )
            continue
        is_box = len(values) in (4, 5, 4 + num_keypoints)
        if not all(abs(value) <= MOST for value in values[: 4 if is_box else None]):
            totals['no fractions'] += 1
            problems.dropped['boxes that are no fractions of the image'].append(place)
            continue
        box = _box(values, is_box, size, names[int(label)], place)
        if box is None:
            problems.dropped['boxes without area'].append(place)
        else:
            boxes.append(box)
    return boxes


def _numbers(words: list[str]) -> list[float] | None:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _box(
    values: list[float], is_box: bool, size: tuple[int, int], name: str, place: str
) -> Box | None:
    """Make a box of a row; None where its width or height is negative or nothing."""
    width, height = size
    if is_box:
        cx, cy, w, h = values[:4]
        if w <= 0 or h <= 0:
            return None
        edges = (cx - w / 2) * width, (cy - h / 2) * height
        return Box((*edges, (cx + w / 2) * width, (cy + h / 2) * height), name, place)
    # An odd number of values has a confidence behind the corners.
    corners = values[: len(values) // 2 * 2]
    xs = [min(max(x, 0.0), 1.0) * width for x in corners[::2]]
    ys = [min(max(y, 0.0), 1.0) * height for y in corners[1::2]]
    polygon = [value for pair in zip(xs, ys, strict=True) for value in pair]
    return Box((min(xs), min(ys), max(xs), max(ys)), name, place, segmentation=[polygon])
