"""YOLO's label files: a row of fractions of the image for each object.

Rows: ``class cx cy w h``, all but the class in 0..1 of the image as viewers show it, perhaps with a
confidence behind, which is left out; or ``class x1 y1 x2 y2 x3 y3 ...``, the corners of a polygon,
whose enclosing box is taken. With ``kpt_shape`` in data.yaml, rows are a box and keypoints, and the
keypoints are left out. A file without rows, or no file, is a background image.
"""

import math
from collections import defaultdict
from pathlib import Path

from .records import Box, Collection, FormatError, Picture, Problems
from .sizes import ImageSizes
from .text_files import read_text, split_numbers
from .tree import Tree
from .yolo_layout import LabelIndex, find_names, find_splits, label_files
from .yolo_rows import RowWatch

NAME = 'YOLO'
# Rounded fractions may pass 1; coordinates in pixels are far from it.
MOST = 1.5
ROUNDING = 1e-3


def read_yolo(tree: Tree, yaml_file: Path | None) -> Collection:
    """Read all images below a folder with their label files.

    Args:
        tree: Files below the folder.
        yaml_file: ``data.yaml``; None where there is none.

    Raises:
        FormatError: There is no image, or the rows mean something else, see :class:`.RowWatch`.
    """
    problems = Problems()
    names, num_keypoints = find_names(tree, yaml_file, problems)
    splits = find_splits(tree, yaml_file, problems)
    paths = sorted({*tree.images(), *splits})
    if not paths:
        raise FormatError(f'{tree.root}: label files of YOLO, but no images')
    sizes = ImageSizes(paths)
    index = LabelIndex(tree)
    labels = {path: index.find(path) for path in paths}
    _note_shared(labels, tree, problems)
    pictures, watch = [], RowWatch(len(names), num_keypoints)
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
            boxes = _read_rows(file, tree.name(file), names, size, problems, watch)
        if splits and path not in splits:
            problems.dropped['images in none of the parts (train, val, test)'].append(
                tree.name(path)
            )
            continue
        pictures.append(Picture(path, *size, boxes, frozenset(splits.get(path, ()))))
    used = {path for path in labels.values() if path}
    problems.dropped['label files without image'] += [
        tree.name(path) for path in label_files(tree) if path not in used
    ]
    watch.check(tree.root)
    sizes.note_several(pictures, tree, problems)
    return Collection(NAME, names, pictures, problems)


def _note_shared(labels: dict[Path, Path | None], tree: Tree, problems: Problems) -> None:
    """Count label files of several images, as of a.jpg and a.png."""
    images = defaultdict(list)
    for path, file in labels.items():
        if file is not None:
            images[file].append(path)
    problems.noted['label files that several images share'] += [
        f'{tree.name(file)}: {", ".join(map(tree.name, paths))}'
        for file, paths in images.items()
        if len(paths) > 1
    ]


def _read_rows(
    file: Path,
    shown_name: str,
    names: list[str],
    size: tuple[int, int],
    problems: Problems,
    watch: RowWatch,
) -> list[Box]:
    boxes = []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        line = line.strip('\ufeff \t\x00')
        if not line or line.startswith('#'):
            continue
        place = f'{shown_name}, line {number}'
        words, commas = split_numbers(line)
        numbers = _numbers(words)
        watch.rows += 1
        if commas:
            problems.repaired['rows with decimal commas'].append(place)
        if numbers is None or len(numbers) < 5:
            problems.dropped['rows that are no box'].append(f'{place}: {line[:40]!r}')
            continue
        label, values = numbers[0], numbers[1:]
        watch.add(label, values)
        if not (label.is_integer() and 0 <= label < len(names)):
            problems.dropped['boxes of a class that data.yaml does not name'].append(
                f'{place}: class {words[0]}'
            )
            continue
        is_box = len(values) in (4, 5, 4 + watch.num_keypoints)
        if not all(abs(value) <= MOST for value in values[: 4 if is_box else None]):
            watch.no_fractions += 1
            problems.dropped['boxes that are no fractions of the image'].append(place)
            continue
        if is_box:
            watch.add_box(values[:4], size)
        elif not all(-ROUNDING <= value <= 1 + ROUNDING for value in values):
            problems.repaired['polygons clipped to their image'].append(place)
        if len(values) == 5 and watch.num_keypoints != 1:
            if not 0 <= values[4] <= 1:
                reason = 'rows whose sixth number is no confidence (an angle?)'
                problems.dropped[reason].append(f'{place}: {words[5]}')
                continue
            reason = 'rows with a sixth number, taken for a confidence and left out'
            problems.noted[reason].append(place)
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
