"""Pascal VOC's XML files, one for each image.

Two readings of a box are in use. The devkit of Pascal VOC counts pixels from 1 and includes the
last one: ``xmin 1, xmax 640`` is 640 pixels wide and becomes the edges 0 and 640. labelImg, CVAT,
Roboflow and most others write edges as they are: ``xmin 1, xmax 640`` becomes 1 and 640, 639 pixels
wide. The devkit's reading is taken where ``source/database`` names a VOC data set, edges everywhere
else, unless someone says which.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from mmdetr.datasets.box_formats import XYXY, recognise_format

from .records import Box, Collection, FormatError, Picture, Problems
from .sizes import ImageSizes
from .text_files import read_text, to_number
from .tree import ImageIndex, Tree, split_of
from .xml_files import Node, read_xml

NAME = 'Pascal VOC'
VocPixels: TypeAlias = Literal['auto', 'edges', 'inclusive']
LISTS = ('train', 'val', 'test', 'trainval')
_DEVKIT = re.compile(r'\bVOC ?20\d\d\b', re.IGNORECASE)


def read_voc(tree: Tree, files: list[Path], pixels: VocPixels = 'auto') -> Collection:
    """Read XML files and all images that belong to them.

    Args:
        tree: Files below the folder.
        files: The XML files.
        pixels: What ``xmin`` counts, see above; ``'auto'`` looks at ``source/database``.

    Raises:
        FormatError: There is no image, or the boxes are none of Pascal VOC's.
    """
    problems = Problems()
    index = ImageIndex(tree.images())
    if not index.paths:
        raise FormatError(f'{tree.root}: XML files of Pascal VOC, but no images')
    roots = _roots(tree, files, problems)
    owners = _owners(tree, roots, index, problems)
    sizes = ImageSizes(index.paths)
    lists = _lists(tree)
    pictures, readings = [], Counter[str]()
    for path in index.paths:
        xml = owners.get(path)
        parts = _parts(path, xml, lists, tree)
        if lists and not parts:
            problems.dropped['images in none of the lists of ImageSets'].append(tree.name(path))
            continue
        size = _size(tree, path, roots[xml] if xml else None, xml, sizes, problems)
        if size is None:
            continue
        boxes: list[Box] = []
        if xml is None:
            problems.noted['images without XML file, taken as background'].append(tree.name(path))
        else:
            inclusive = _is_inclusive(roots[xml], pixels)
            readings['inclusive' if inclusive else 'edges'] += 1
            boxes = _boxes(roots[xml], tree.name(xml), inclusive, problems)
        pictures.append(Picture(path, *size, boxes, parts))
    _refuse_other_boxes(tree, pictures)
    sizes.note_several(pictures, tree, problems)
    classes = sorted({box.name for picture in pictures for box in picture.boxes})
    return Collection(NAME, classes, pictures, problems, _say(readings))


def _roots(tree: Tree, files: list[Path], problems: Problems) -> dict[Path, Node]:
    roots = {}
    for file in files:
        try:
            roots[file] = read_xml(file)
        except FormatError as error:
            problems.dropped['XML files that cannot be read'].append(str(error))
    return roots


def _owners(
    tree: Tree, roots: dict[Path, Node], index: ImageIndex, problems: Problems
) -> dict[Path, Path]:
    """Return the XML file of each image: that of its name, else that which names it."""
    owners: dict[Path, Path] = {}
    for file, root in roots.items():
        stated = root.text('filename')
        path, trouble = index.find(file.stem, file, stem_only=True)
        if path is None and stated:
            path, trouble = index.find(stated, file)
        if path is None:
            problems.dropped['XML files without image'].append(f'{tree.name(file)}: {trouble}')
        elif path in owners:
            problems.dropped['XML files of an image that has another one'].append(
                f'{tree.name(file)}: {tree.name(owners[path])} is of {tree.name(path)}, too'
            )
        else:
            owners[path] = file
    return owners


def _size(
    tree: Tree,
    path: Path,
    root: Node | None,
    xml: Path | None,
    sizes: ImageSizes,
    problems: Problems,
) -> tuple[int, int] | None:
    """Return (w, h) of the frame that the boxes are in; None for an image that is left out."""
    shown = sizes.shown(path)
    if shown is None or sizes.problem(path):
        reason = sizes.problem(path) or 'its size cannot be told'
        problems.dropped['images that cannot be used'].append(f'{tree.name(path)}: {reason}')
        return None
    if root is None or xml is None:
        return shown
    width, height = (to_number(root.text(f'size/{side}')) for side in ('width', 'height'))
    if not (width >= 1 and height >= 1):  # NaN as well
        problems.repaired['sizes that the XML does not state, taken from the image'].append(
            tree.name(xml)
        )
        return shown
    stated = int(width), int(height)
    if sizes.fits(path, stated):
        return stated
    problems.dropped['images of another size than their XML states'].append(
        f'{tree.name(path)} is {shown[0]}x{shown[1]}, {tree.name(xml)} says {stated[0]}x{stated[1]}'
    )
    return None


def _is_inclusive(root: Node, pixels: VocPixels) -> bool:
    if pixels == 'auto':
        return _DEVKIT.search(root.text('source/database') or '') is not None
    return pixels == 'inclusive'


def _boxes(root: Node, file: str, inclusive: bool, problems: Problems) -> list[Box]:
    boxes = []
    for each in root.all('object'):
        place = f'{file}, line {each.line}'
        name = (each.text('name') or '').strip()
        edges = [to_number(each.text(f'bndbox/{key}')) for key in ('xmin', 'ymin', 'xmax', 'ymax')]
        if not name:
            problems.dropped['objects without class'].append(place)
        elif each.find('bndbox') is None:
            problems.dropped['objects without box'].append(place)
        else:
            if (each.text('difficult') or '0') not in ('0', 'false', 'False'):
                reason = 'objects marked as difficult, which count like all others'
                problems.noted[reason].append(place)
            x1, y1, x2, y2 = edges
            first = 1.0 if inclusive else 0.0
            boxes.append(Box((x1 - first, y1 - first, x2, y2), name, place))
    return boxes


def _refuse_other_boxes(tree: Tree, pictures: list[Picture]) -> None:
    rows = [
        (*box.bbox_xyxy, picture.width, picture.height)
        for picture in pictures
        for box in picture.boxes
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    form = recognise_format(table[:, :4], table[:, 4:], XYXY)
    if form is not None:
        raise FormatError(
            f'{tree.root}: the boxes of the XML files look like {form}; Pascal VOC has the corners '
            'xmin, ymin, xmax, ymax in pixels: mend what wrote the files'
        )


def _lists(tree: Tree) -> dict[str, set[str]]:
    """Return the stems of the images of each list in ImageSets, in any spelling and depth."""
    found: dict[str, set[str]] = {}
    for path in tree.files('.txt'):
        folders = [part.lower().replace('_', '') for part in path.parts[:-1]]
        if path.stem.lower() not in LISTS or 'imagesets' not in folders:
            continue
        words = (line.split() for line in read_text(path).splitlines())
        names = {each[0].replace('\\', '/').rpartition('/')[2] for each in words if each}
        found.setdefault(path.stem.lower(), set()).update(names)
    return found


def _parts(path: Path, xml: Path | None, lists: dict[str, set[str]], tree: Tree) -> frozenset[str]:
    if lists:
        names = {path.stem, path.name} | ({xml.stem} if xml else set())
        return frozenset(name for name, listed in lists.items() if names & listed)
    part = split_of(path, tree.root) or (split_of(xml, tree.root) if xml else None)
    return frozenset({part} if part else ())


def _say(readings: Counter[str]) -> list[str]:
    said = []
    if readings['inclusive']:
        said.append(
            f'{readings["inclusive"]} XML files are read as the VOC devkit means it: pixels from '
            '1, the last one included, so xmin and ymin are moved by 1'
        )
    if readings['edges']:
        said.append(
            f'{readings["edges"]} XML files are read as most tools write them: xmin to ymax are '
            'edges in pixels, taken as they are (--voc-pixels inclusive reads them as the devkit)'
        )
    return said
