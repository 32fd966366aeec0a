"""Look over the image files of datasets without decoding them: headers and repeated contents.

A hundred thousand files take less than a minute on one core, and are not read again before one of
them, by name, size or time of change, is another.
"""

import contextlib
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from .local_files import check_regular, is_local
from .transforms.loading import PROGRAM_FORMATS
from .transforms.orientation import frame_sizes, read_orientation, stated_frame

END_BYTES = 4096
BLOCK_BYTES = 2**20
VERSION = 1  # of what the cache holds


class ImageScan(NamedTuple):
    """What the files of some paths are, by path.

    Attributes:
        problems: Why a file cannot be one of an image; missing ones are not among them.
        missing: Paths of nothing.
        turned: EXIF orientation 2..8 and (w, h) of the frames ``stored`` and ``shown``.
        copies: Groups of two or more paths whose files have the same content.
    """

    problems: dict[str, str]
    missing: list[str]
    turned: dict[str, tuple[int, dict[str, tuple[int, int]]]]
    copies: list[list[str]]


def scan_images(paths: Sequence[str], cache: bool = True) -> ImageScan:
    """Look over files, each path once; paths of other file systems are left out."""
    known: dict[str, os.stat_result] = {}
    problems, missing = {}, []
    for path in sorted({path for path in paths if is_local(path)}):
        try:
            known[path] = os.stat(path)
            check_regular(path, known[path])
        except FileNotFoundError:
            missing.append(path)
        except (OSError, ValueError) as error:
            problems[path] = str(error)
            known.pop(path, None)
    file = _cache_file(known) if cache else None
    content = _read_cache(file)
    if content is None:
        content = dict(turned=_find_turned(known), copies=_find_copies(known))
        _write_cache(file, content)
    turned = {
        path: (tag, {frame: (size[0], size[1]) for frame, size in sizes.items()})
        for path, (tag, sizes) in content['turned'].items()
    }
    return ImageScan(problems, missing, turned, content['copies'])


def undecided(scan: ImageScan, infos: Sequence[dict]) -> dict[str, list[str]]:
    """Group the turned photographs of a dataset by the frame that its stated sizes mean.

    Returns:
        Paths by ``'stored'``, ``'shown'`` and ``'undecided'``.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for info in infos:
        if info.get('img_path') in scan.turned:
            sizes = scan.turned[info['img_path']][1]
            frame = stated_frame(sizes, (info.get('width'), info.get('height')))  # type: ignore[arg-type]
            groups[frame or 'undecided'].append(info['img_path'])
    return groups


def _find_turned(known: dict[str, os.stat_result]) -> dict:
    turned = {}
    for path in known:
        try:
            with Image.open(path) as image:
                if image.format in PROGRAM_FORMATS:
                    continue
                late = image.format == 'PNG' and _has_late_exif(path)
                orientation = read_orientation(image, may_decode=late)
                if orientation > 1:
                    turned[path] = (orientation, frame_sizes(image, orientation))
        except Exception:  # not a picture: found, and named, by decoding
            continue
    return turned


def _has_late_exif(path: str) -> bool:
    """Say whether a PNG has an eXIf chunk behind its pixels."""
    pixels = False
    with open(path, 'rb') as file:
        file.seek(8)
        while len(header := file.read(8)) == 8:
            pixels = pixels or header[4:] == b'IDAT'
            if header[4:] == b'eXIf':
                return pixels
            file.seek(int.from_bytes(header[:4], 'big') + 4, os.SEEK_CUR)
    return False


def _find_copies(known: dict[str, os.stat_result]) -> list[list[str]]:
    """Compare sizes, then the ends, then whole contents: few files are read as a whole."""
    by_size = defaultdict(list)
    for path, status in known.items():
        by_size[status.st_size].append(path)
    groups = [paths for paths in by_size.values() if len(paths) > 1]
    for whole in (False, True):
        finer = []
        for paths in groups:
            by_content = defaultdict(list)
            for path in paths:
                by_content[_digest(path, whole)].append(path)
            finer += [group for group in by_content.values() if len(group) > 1]
        groups = finer
    return groups


def _digest(path: str, whole: bool) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, 'rb') as file:
            if not whole:
                digest.update(file.read(END_BYTES))
                size = os.fstat(file.fileno()).st_size
                file.seek(-min(END_BYTES, size), os.SEEK_END)
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    except OSError:
        return os.urandom(16)  # equal to nothing
    return digest.digest()


def _cache_file(known: dict[str, os.stat_result]) -> Path | None:
    digest = hashlib.blake2b(str(VERSION).encode(), digest_size=16)
    for path, status in known.items():
        text = f'\n{os.path.abspath(path)}\0{path}\0{status.st_size}\0{status.st_mtime_ns}'
        digest.update(text.encode(errors='surrogateescape'))
    base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return Path(base) / 'mmdetr' / 'image_scans' / f'{digest.hexdigest()}.json'


def _read_cache(file: Path | None) -> dict | None:
    try:
        content = json.loads(file.read_text(encoding='utf-8')) if file else None
    except (OSError, ValueError):
        return None
    good = isinstance(content, dict) and content.keys() == {'turned', 'copies'}
    return content if good else None


def _write_cache(file: Path | None, content: dict) -> None:
    if file is None:
        return
    temporary = file.with_suffix(f'.{os.getpid()}')
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(content), encoding='utf-8')
        temporary.replace(file)
    except (OSError, UnicodeError):
        with contextlib.suppress(OSError):  # a cache that cannot be written is only slower
            temporary.unlink(missing_ok=True)
