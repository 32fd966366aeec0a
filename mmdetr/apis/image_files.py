"""Image files in folders and by patterns, without passing anything over in silence."""

import glob
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError

# Formats that Pillow only recognises, or hands to another program.
_NOT_READ = ('BUFR', 'EPS', 'GRIB', 'HDF5', 'MPEG', 'WMF')


@cache
def image_suffixes() -> frozenset[str]:
    """Suffixes of the files that Pillow reads, in lower case, with the dot."""
    formats = Image.registered_extensions()  # fills Image.OPEN as well
    return frozenset(
        suffix for suffix, name in formats.items() if name in Image.OPEN and name not in _NOT_READ
    )


def find_images(images: str, out_dir: Path) -> tuple[list[Path], list[Path]]:
    """Files that a path, a folder or a glob pattern stands for, and those passed over.

    A folder stands for all images in it and in the folders below it, links to folders included. In
    a folder or a pattern, an image is what has a suffix that Pillow reads, in upper or lower case,
    or no suffix and the content of an image. Hidden files are none.

    Args:
        images: What a user says. A file that is named itself is taken whatever it is.
        out_dir: What lies below this folder is left out, as what an earlier run made, unless the
            user asks for something in it.

    Returns:
        The images and the files passed over, both in order of their names.
    """
    path = Path(images)
    if path.is_dir():
        candidates: Iterable[Path] = _files_below(path)
    elif os.path.lexists(path) or not glob.has_magic(images):
        return [path], []
    else:
        candidates = (Path(name) for name in glob.glob(images, recursive=True))
    made, asked = out_dir.resolve(), path.resolve()
    leave_out_made = made not in (asked, *asked.parents)
    found: list[Path] = []
    skipped: list[Path] = []
    for file in sorted(set(candidates)):
        is_made = leave_out_made and made in file.resolve().parents
        if not is_made and not file.is_dir():
            (found if _is_image(file) else skipped).append(file)
    return found, skipped


def _files_below(folder: Path) -> Iterator[Path]:
    entered = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in entered:  # a link that leads back
            folders.clear()
            continue
        entered.add(real)
        yield from (Path(parent, name) for name in files)


def _is_image(file: Path) -> bool:
    if file.name.startswith('.') or not file.is_file():  # a pipe would be waited for
        return False
    if file.suffix:
        return file.suffix.lower() in image_suffixes()
    try:
        with Image.open(file) as image:
            return image.format not in _NOT_READ
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
