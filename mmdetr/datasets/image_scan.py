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
from typing import Any, NamedTuple

from PIL import Image, UnidentifiedImageError

from mmdetr.utils.files import check_regular, describe_other_content
from mmdetr.utils.image_decoding import UNKNOWN_FORMAT, other_size, refuse_useless
from mmdetr.utils.orientation import frame_sizes, read_orientation, stated_frame

from .local_files import is_local
from .transforms.loading import LoadImageFromFile
from .wrappers import pipeline_steps

END_BYTES = 4096
HEADER_BYTES = 2**16
BLOCK_BYTES = 2**20
TAIL_BYTES = 4096
KEYS = {'sizes', 'turned', 'useless', 'several', 'copies'}
VERSION = 4  # of what the cache holds

# How whole files end, but for what programs add behind. MPO is what phones write.
ENDS = {'JPEG': b'\xff\xd9', 'MPO': b'\xff\xd9', 'PNG': b'IEND'}
# Of these the first picture is meant; a second one of MPO is a preview.
SEVERAL = ('GIF', 'PNG', 'TIFF', 'WEBP')


class ImageScan(NamedTuple):
    """What the files of some paths are, by path.

    Attributes:
        problems: Why a path is none of a file; missing ones are not among them.
        useless: Why ``LoadImageFromFile`` refuses a file, as far as its header tells.
        missing: Paths of nothing.
        sizes: (w, h) as stored; None where it cannot be told.
        turned: EXIF orientation 2..8 and (w, h) of the frames ``stored`` and ``shown``.
        copies: Groups of two or more paths whose files have the same content.
        several: Number of pictures in files that hold more than one, as frames or pages.
    """

    problems: dict[str, str]
    useless: dict[str, str]
    missing: list[str]
    sizes: dict[str, tuple[int, int] | None]
    turned: dict[str, tuple[int, dict[str, tuple[int, int]]]]
    copies: list[list[str]]
    several: dict[str, int]


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
        content = dict(_read_headers(known), copies=_find_copies(known))
        _write_cache(file, content)
    turned = {
        path: (tag, {frame: (size[0], size[1]) for frame, size in sizes.items()})
        for path, (tag, sizes) in content['turned'].items()
    }
    # The order of the names is part of what the cache is known by.
    sizes = {
        path: (size[0], size[1]) if size else None
        for path, size in zip(known, content['sizes'], strict=True)
    }
    useless, copies, several = (content[key] for key in ('useless', 'copies', 'several'))
    return ImageScan(problems, useless, missing, sizes, turned, copies, several)


def has_other_loader(dataset: Any) -> bool:
    """Say whether a dataset's pipeline reads images by something else than LoadImageFromFile."""
    steps = pipeline_steps(dataset)
    return bool(steps) and not any(isinstance(step, LoadImageFromFile) for step in steps or ())


def bad_images(scan: ImageScan, dataset: Any, infos: Sequence[dict]) -> dict[str, str]:
    """Return by path what keeps images of a dataset from being used, but for missing files.

    Where a pipeline has a loader of its own, nothing is known of what that one takes.

    Args:
        scan: Of the dataset's files.
        dataset: Its pipeline is asked for the loader.
        infos: Of the images in question.
    """
    if has_other_loader(dataset):
        return scan.problems
    wrong = scan.problems | scan.useless
    for info in infos:
        path, stated = info['img_path'], (info.get('width'), info.get('height'))
        size = scan.sizes.get(path)
        if size is None or None in stated:
            continue
        if stated not in (scan.turned[path][1].values() if path in scan.turned else (size,)):
            wrong[path] = str(other_size(size, stated))  # type: ignore[arg-type]
    return wrong


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


def _read_headers(known: dict[str, os.stat_result]) -> dict[str, Any]:
    """Return ``sizes`` in the order of the files; by path ``turned``, ``useless``, ``several``."""
    sizes: list = []
    turned, useless, several = {}, {}, {}
    for path in known:
        sizes.append(None)
        try:
            with Image.open(path) as image:
                refuse_useless(image, _headers(path) if image.format == 'JPEG2000' else b'')
                late = image.format == 'PNG' and _has_late_exif(path)
                sizes[-1] = image.size
                if image.format in SEVERAL and getattr(image, 'n_frames', 1) > 1:
                    several[path] = image.n_frames
                orientation = read_orientation(image, may_decode=late)
                if orientation > 1:
                    turned[path] = (orientation, frame_sizes(image, orientation))
                if _may_be_cut_off(image, known[path].st_size):
                    image.load()
        except UnidentifiedImageError:
            useless[path] = describe_other_content(_headers(path)) or UNKNOWN_FORMAT
        except Exception as error:  # decoders raise whatever a broken file leads them into
            useless[path] = str(error)
    return dict(sizes=sizes, turned=turned, useless=useless, several=several)


def _may_be_cut_off(image: Image.Image, size: int) -> bool:
    """Say whether the end of a file is missing, or far from its end, or longer than the file."""
    file: Any = getattr(image, 'fp', None)
    if image.format not in (*ENDS, 'WEBP') or file is None:
        return False
    place = file.tell()
    file.seek(max(0, size - TAIL_BYTES) if image.format in ENDS else 4)
    content = file.read(TAIL_BYTES)
    file.seek(place)
    if image.format in ENDS:
        return ENDS[image.format] not in content
    return int.from_bytes(content[:4], 'little') + 8 > size


def _headers(path: str) -> bytes:
    with open(path, 'rb') as file:
        return file.read(HEADER_BYTES)


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
    good = isinstance(content, dict) and content.keys() == KEYS
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
