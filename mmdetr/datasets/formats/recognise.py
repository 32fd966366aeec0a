"""Which format a folder of data is in, by what is there."""

import re
from pathlib import Path
from typing import Literal, TypeAlias

from .coco_files import find_coco, read_coco
from .records import Collection, FormatError
from .text_files import read_bytes
from .tree import OTHER_SUFFIXES, Tree
from .voc import VocPixels, read_voc
from .yolo import read_yolo
from .yolo_layout import CLASS_FILES, find_yaml, label_files, looks_like_labels

Format: TypeAlias = Literal['yolo', 'voc', 'coco']
FORMATS = ('yolo', 'voc', 'coco')
LOOKED_FOR = (
    'a JSON file with images, annotations and categories (COCO), XML files with <annotation> '
    '(Pascal VOC), or a data.yaml with names: or rows of numbers in labels/*.txt (YOLO)'
)
_VOC_ROOT = re.compile(rb'<\s*annotation\b', re.IGNORECASE)
SNIFFED = 4096


def read_folder(
    source: str | Path, fmt: Format | None = None, voc_pixels: VocPixels = 'auto'
) -> Collection:
    """Read a data set of any known format.

    Args:
        source: Its folder, or a file in it (data.yaml, a JSON file), or a folder of XML files whose
            images are beside it.
        fmt: The format; None recognises it by what is there.
        voc_pixels: See :func:`~.voc.read_voc`.

    Raises:
        FormatError: Nothing or more than one format is found, or what is found cannot be read.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise FormatError(f'{path} does not exist')
    path = path.resolve()
    given = path if path.is_file() else None
    tree = Tree(path.parent if given else path)
    if given is None and not tree.images():  # the folder of the annotations alone was named
        tree = Tree(path.parent)
    xml_files = [file for file in _below(path, tree.files('.xml')) if _is_voc(file)]
    coco_files = find_coco(_below(path, tree.files('.json')))
    yaml_files = _below(path, find_yaml(tree))
    rows = [file for file in label_files(tree) if looks_like_labels(file)]
    if given is None or (given not in yaml_files and given.name not in CLASS_FILES):
        rows = _below(path, rows)
    found = {
        'coco': _name_some(tree, coco_files),
        'voc': _name_some(tree, xml_files),
        'yolo': _name_some(tree, yaml_files if yaml_files and rows else rows),
    }
    chosen = _choose({name: text for name, text in found.items() if text}, path, fmt)
    if chosen == 'coco':
        collection = read_coco(tree, coco_files)
    elif chosen == 'voc':
        collection = read_voc(tree, xml_files, voc_pixels)
    elif len(yaml_files) > 1:
        raise FormatError(
            f'{path} has several files that name classes ({found["yolo"]}): name one of them '
            'instead of the folder'
        )
    else:
        collection = read_yolo(tree, yaml_files[0] if yaml_files else None)
    others = [tree.name(file) for file in tree.files(*OTHER_SUFFIXES)]
    if others:
        collection.problems.dropped['files of formats that are not read'] += others
    return collection


def _choose(found: dict[str, str], path: Path, fmt: Format | None) -> str:
    if fmt is not None:
        if fmt not in found:
            raise FormatError(f'{path} has nothing of the format {fmt}; looked for: {LOOKED_FOR}')
        return fmt
    if not found:
        raise FormatError(f'{path}: no known data; looked for: {LOOKED_FOR}')
    if len(found) > 1:
        parts = ' and '.join(f'{name} ({text})' for name, text in found.items())
        raise FormatError(f'{path} holds {parts}: say which with --format')
    return next(iter(found))


def _below(path: Path, files: list[Path]) -> list[Path]:
    """Return the files that are meant where a folder or one file was named."""
    return [file for file in files if file == path or path in file.parents]


def _name_some(tree: Tree, files: list[Path]) -> str:
    if not files:
        return ''
    more = f' and {len(files) - 1} more' if len(files) > 1 else ''
    return f'{tree.name(files[0])}{more}'


def _is_voc(path: Path) -> bool:
    try:
        return _VOC_ROOT.search(read_bytes(path)[:SNIFFED].replace(b'\0', b'')) is not None
    except FormatError:
        return False
