"""The files below a folder, and which image a name in an annotation file means."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from .records import FormatError

# Of photographs and drawings that Pillow reads, as far as it is built with what they need.
IMAGE_SUFFIXES = (
    '.jpg',
    '.jpeg',
    '.jpe',
    '.jfif',
    '.png',
    '.apng',
    '.bmp',
    '.dib',
    '.tif',
    '.tiff',
    '.webp',
    '.gif',
    '.jp2',
    '.j2k',
    '.jpx',
    '.ppm',
    '.pgm',
    '.pbm',
    '.pnm',
    '.tga',
    '.avif',
)
# Pictures and videos that nothing here reads, and that nobody should miss without a word.
OTHER_SUFFIXES = (
    '.heic',
    '.heif',
    '.jxl',
    '.svg',
    '.psd',
    '.eps',
    '.pdf',
    '.dng',
    '.cr2',
    '.cr3',
    '.nef',
    '.arw',
    '.raf',
    '.orf',
    '.rw2',
    '.dcm',
    '.exr',
    '.hdr',
    '.mp4',
    '.mov',
    '.avi',
    '.mkv',
    '.m4v',
    '.webm',
    '.wmv',
    '.mpg',
    '.mpeg',
)
MOST_LEVELS = 8
SPLIT_NAMES = {
    'train': 'train',
    'training': 'train',
    'val': 'val',
    'valid': 'val',
    'validation': 'val',
    'test': 'test',
    'testing': 'test',
}
_LABEL_STUDIO_PREFIX = re.compile(r'^[0-9a-f]{8}-')


class Tree:
    """All files below a folder, by lower-case suffix, in the order of their names.

    Hidden files and folders, and what macOS packs beside files, are left out.

    Args:
        root: The folder.

    Raises:
        FormatError: There is no such folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise FormatError(f'{root} is no folder')
        self.root = root
        self._files: dict[str, list[Path]] = defaultdict(list)
        seen: set[str] = set()
        for folder, folders, names in os.walk(root, followlinks=True):
            place, real = Path(folder), os.path.realpath(folder)
            if real in seen:  # links may lead round in a circle
                folders.clear()
                continue
            seen.add(real)
            if len(place.relative_to(root).parts) >= MOST_LEVELS:
                folders.clear()
            folders[:] = sorted(name for name in folders if not name.startswith(('.', '__MACOSX')))
            for name in sorted(names):
                if not name.startswith('.'):
                    self._files[os.path.splitext(name)[1].lower()].append(place / name)

    def files(self, *suffixes: str) -> list[Path]:
        return [path for suffix in suffixes for path in self._files.get(suffix, ())]

    def images(self) -> list[Path]:
        return sorted(self.files(*IMAGE_SUFFIXES))

    def name(self, path: Path) -> str:
        """A path as messages say it."""
        return Path(os.path.relpath(path, self.root)).as_posix()


def split_of(path: Path, root: Path) -> str | None:
    """Return the part of the data that the folders of a file name, the innermost first."""
    parts = path.relative_to(root).parts[:-1] if root in path.parents else ()
    # images/train2017 of COCO
    names = (re.sub(r'\d{4}$', '', part.lower()) for part in reversed(parts))
    return next((SPLIT_NAMES[name] for name in names if name in SPLIT_NAMES), None)


class ImageIndex:
    """Finds the image that a name in an annotation file means.

    Args:
        paths: Of all images.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = list(paths)
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            self._by_name[_plain(path.name)].append(path)
            self._by_stem[_plain(path.stem)].append(path)

    def find(self, name: str, beside: Path, stem_only: bool = False) -> tuple[Path | None, str]:
        """Return the image of a name; case, backslashes, escapes and folders may differ.

        Args:
            name: As an annotation file states it, with or without folders.
            beside: The annotation file; among images of one name the nearest is meant.
            stem_only: Whether the suffix of the name says nothing.

        Returns:
            The path, or None; and why there is none.
        """
        posix = name.strip().replace('\\', '/')
        if '://' in posix:
            posix = urlsplit(posix).path
        direct = beside.parent / posix
        if (
            posix
            and not stem_only
            and direct.is_file()
            and direct in self._by_name[_plain(direct.name)]
        ):
            return direct, ''
        for text in dict.fromkeys((posix, unquote(posix))):
            pure = PurePosixPath(text)
            bare = _LABEL_STUDIO_PREFIX.sub('', pure.name)
            for last in dict.fromkeys((pure.name, bare)):
                found = [] if stem_only else self._by_name.get(_plain(last), [])
                stem = last if stem_only else PurePosixPath(last).stem
                # A name without suffix may have a dot in it.
                for key in (stem, last):
                    found = found or self._by_stem.get(_plain(key), [])
                if found:
                    return _nearest(found, pure.parent.parts, beside)
        return None, 'no such image'


def _nearest(paths: list[Path], folders: tuple[str, ...], beside: Path) -> tuple[Path | None, str]:
    """Of images of one name, the one whose folders are most like those of the name and file."""
    if len(paths) == 1:
        return paths[0], ''
    wanted = folders or beside.parent.parts

    def likeness(path: Path) -> tuple[int, int]:
        return _common(reversed(path.parent.parts), reversed(wanted)), _common(
            path.parent.parts, beside.parent.parts
        )

    ranked = sorted(paths, key=likeness, reverse=True)
    if likeness(ranked[0]) == likeness(ranked[1]):
        return None, f'{len(paths)} images of that name'
    return ranked[0], ''


def _common(first: Iterable[str], second: Iterable[str]) -> int:
    number = 0
    for one, other in zip(first, second, strict=False):
        if _plain(one) != _plain(other):
            break
        number += 1
    return number


def _plain(name: str) -> str:
    return unicodedata.normalize('NFC', name).casefold()
