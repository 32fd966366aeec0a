"""Where YOLO's data have their class names, parts and label files."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from .records import FormatError, Problems
from .text_files import read_text, read_yaml
from .tree import IMAGE_SUFFIXES, SPLIT_NAMES, Tree, split_of

YAML_SUFFIXES = ('.yaml', '.yml')
CLASS_FILES = (
    'classes.txt',
    'obj.names',
    '_darknet.labels',
    'labels.txt',
    'predefined_classes.txt',
)
NOTHING = ('', '~', 'null')
_ROW = re.compile(r'\s*\d+(\.0*)?[\s,;]+[-+0-9.,eE\s;]+')


def find_yaml(tree: Tree) -> list[Path]:
    """Return the YAML files that name classes, those nearest to the root first."""
    found = []
    for path in sorted(tree.files(*YAML_SUFFIXES), key=lambda path: (len(path.parts), path)):
        try:
            if 'names' in read_yaml(path):
                found.append(path)
        except FormatError:
            continue
    nearest = [path for path in found if len(path.parts) == len(found[0].parts)]
    return [path for path in nearest if path.name == 'data.yaml'] or nearest


def label_files(tree: Tree) -> list[Path]:
    """Return the text files in folders called labels, and those beside an image of their name."""
    stems = {path.with_suffix('') for path in tree.images()}
    found = []
    for path in tree.files('.txt'):
        if path.name.lower() in CLASS_FILES:
            continue
        if 'labels' in (part.lower() for part in path.parts[:-1]) or path.with_suffix('') in stems:
            found.append(path)
    return found


def looks_like_labels(path: Path) -> bool:
    """Say whether a text file begins with a row of numbers, the first of them a whole one."""
    rows = [line for line in read_text(path).splitlines() if line.strip('\ufeff \t')]
    return bool(rows) and _ROW.fullmatch(rows[0].lstrip('\ufeff')) is not None


class LabelIndex:
    """Finds the label file of an image: in ``labels`` instead of ``images``, or beside it.

    Upper and lower case may differ where one file alone can be meant.

    Args:
        tree: Files below the folder.
    """

    def __init__(self, tree: Tree) -> None:
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in tree.files('.txt'):
            self._by_name[str(path).casefold()].append(path)

    def find(self, image: Path) -> Path | None:
        name, parts = f'{image.stem}.txt', image.parent.parts
        candidates = [image.with_name(name), image.parent / 'labels' / name]
        for index in reversed(range(len(parts))):
            if parts[index].lower() in ('images', 'jpegimages'):
                candidates.insert(0, Path(*parts[:index], 'labels', *parts[index + 1 :], name))
                break
        for path in candidates:
            if path.is_file():
                return path
        for path in candidates:
            found = self._by_name.get(str(path).casefold(), [])
            if len(found) == 1:
                return found[0]
        return None


def find_names(tree: Tree, yaml_file: Path | None, problems: Problems) -> tuple[list[str], int]:
    """Return the class names by number, and how many values keypoints add to a row."""
    if yaml_file is None:
        for path in tree.files('.txt', '.names', '.labels'):
            if path.name.lower() in CLASS_FILES:
                return _unique(
                    [line.strip() for line in read_text(path).splitlines() if line.strip()], path
                ), 0
        raise FormatError(
            f'{tree.root}: label files of YOLO, but no class names: a data.yaml with names:, or a '
            f'classes.txt with one name a line'
        )
    content = read_yaml(yaml_file)
    names = _by_number(content['names'], yaml_file)
    stated = content.get('nc')
    if str(stated).isdecimal() and int(str(stated)) != len(names):
        problems.noted['numbers of classes (nc) other than the names'].append(
            f'{tree.name(yaml_file)}: nc {stated}, {len(names)} names'
        )
    shape = content.get('kpt_shape')
    shape = shape if isinstance(shape, list) else []
    is_shape = len(shape) == 2 and all(str(n).isdecimal() for n in shape)
    return names, int(shape[0]) * int(shape[1]) if is_shape else 0


def _by_number(names: Any, path: Path) -> list[str]:
    if isinstance(names, dict):
        try:
            numbered = {int(number): str(name) for number, name in names.items()}
        except (TypeError, ValueError):
            raise FormatError(f'{path}: the keys of names: are no class numbers') from None
        if min(numbered, default=0) < 0 or max(numbered, default=0) > 100_000:
            raise FormatError(f'{path}: the keys of names: are no class numbers')
        # Gaps stay gaps, so that numbers keep their meaning.
        names = [numbered.get(i, f'unused {i}') for i in range(max(numbered, default=-1) + 1)]
    elif isinstance(names, str) and not names.isdecimal():
        names = [name.strip() for name in names.strip('[]').split(',') if name.strip()]
    if not isinstance(names, list) or not names:
        raise FormatError(f'{path}: names: must be a list of class names, or names by number')
    return _unique([str(name).strip() for name in names], path)


def _unique(names: list[str], path: Path) -> list[str]:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise FormatError(f'{path}: the class {repeated[0]!r} is named twice; rename one of them')
    return names


def find_splits(tree: Tree, yaml_file: Path | None, problems: Problems) -> dict[Path, set[str]]:
    """Return the parts of each image: what data.yaml says, else what folders are called."""
    found: dict[Path, set[str]] = defaultdict(set)
    content = read_yaml(yaml_file) if yaml_file else {}
    for key, value in content.items():
        name = SPLIT_NAMES.get(str(key).lower())
        if name is None or yaml_file is None or not value or value in NOTHING:
            continue
        for entry in value if isinstance(value, list) else [value]:
            images = _images_of(str(entry), content.get('path'), yaml_file, tree)
            if not images:
                problems.noted['parts of data.yaml that are not there'].append(f'{key}: {entry}')
            for path in images:
                found[path].add(name)
    stated = {name for parts in found.values() for name in parts}
    for path in tree.images():
        name = split_of(path, tree.root)
        # A part that data.yaml leaves out or cannot find.
        if path not in found and name is not None and name not in stated:
            found[path].add(name)
    return dict(found)


def _images_of(entry: str, root: Any, yaml_file: Path, tree: Tree) -> list[Path]:
    """Return the images that an entry of data.yaml means, wherever its author stood."""
    entry = entry.strip().replace('\\', '/')
    here = yaml_file.parent
    base = str(root).strip().replace('\\', '/') if root and root not in NOTHING else ''
    stripped = re.sub(r'^(\.\.?/)+', '', entry)
    candidates = [here / base / entry, here / entry, here / stripped, Path(base) / entry]
    # A path of another computer: its last folders.
    parts = [part for part in stripped.split('/') if part and not part.endswith(':')]
    candidates += [here.joinpath(*parts[i:]) for i in range(1, len(parts))]
    by_folder = _by_folder(tree)
    for candidate in candidates:
        if candidate.is_file() and candidate.suffix.lower() == '.txt':
            return _listed(candidate, here / base, tree)
        if candidate.is_dir():
            folder = candidate.resolve()
            inside = [
                path
                for parent, paths in by_folder.items()
                if parent == folder or folder in parent.parents
                for path in paths
            ]
            if inside:
                return inside
            beyond = Tree(folder).images()
            if beyond:
                return beyond
    return []


def _by_folder(tree: Tree) -> dict[Path, list[Path]]:
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in tree.images():
        folders[path.parent].append(path)
    return {folder.resolve(): paths for folder, paths in folders.items()}


def _listed(file: Path, base: Path, tree: Tree) -> list[Path]:
    """Return the images that a text file lists, relative to it, to ``path:`` or to the folder."""
    found = []
    known = {path.resolve(): path for path in tree.images()}
    for line in read_text(file).splitlines():
        name = line.strip().replace('\\', '/')
        if not name.lower().endswith(IMAGE_SUFFIXES):
            continue
        for folder in (file.parent, base, tree.root):
            path = (folder / name).resolve()
            if path.is_file():
                found.append(known.get(path, path))
                break
    return found
