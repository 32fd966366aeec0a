"""Find the files of image names that were written on other systems or by exporters."""

import os
import os.path as osp
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from .local_files import is_local

# Names that mean the same file everywhere need no look at the disk.
_STRANGE = re.compile(r'[\\%]|://|^[A-Za-z]:|^[/~]|[^\x00-\x7f]')
_LABEL_STUDIO_PREFIX = re.compile(r'^[0-9a-f]{8}-')


def find_files(names: list[str], prefix: str) -> tuple[list[str], dict[str, list[str]]]:
    """Return a path for each name of an annotation file.

    A name with backslashes, %-escapes, an address, a path of another computer or letters that
    systems compose differently (NFC, NFD) is read as the one existing file that it can mean;
    where two names would come to mean one file, none of them is.

    Args:
        names: ``file_name`` of each image.
        prefix: Folder of the images.

    Returns:
        The paths; and by reason the names that were read otherwise than written.
    """
    paths = [name if '://' in name else osp.join(prefix, name) for name in names]
    if not is_local(prefix):
        return paths, {}
    found: dict[int, tuple[str, str]] = {}
    for index, name in enumerate(names):
        if _STRANGE.search(name) and not osp.isfile(paths[index]):
            meant = next(_existing(name, prefix), None)
            if meant is not None:
                found[index] = meant
    if not found:
        return paths, {}
    owners = defaultdict(set)
    for index, path in enumerate(paths):
        owners[osp.normpath(found[index][0] if index in found else path)].add(names[index])
    read: dict[str, list[str]] = defaultdict(list)
    for index, (path, reason) in found.items():
        if len(owners[osp.normpath(path)]) == 1:
            paths[index] = path
            read[reason].append(names[index])
    return paths, dict(read)


def hint(path: str, prefix: str) -> str | None:
    """Say what is there instead of a missing image file, if something like it is."""
    name = osp.relpath(path, prefix) if prefix and '://' not in path else path
    existing = next(_existing(name, prefix), None)
    if existing is not None:
        return f'{existing[0]} exists ({existing[1]})'
    folder, base = osp.split(path)
    try:
        there = os.listdir(folder)
    except OSError:
        return None
    stem = osp.splitext(base)[0].casefold()
    for other in sorted(there):
        if osp.splitext(other)[0].casefold() == stem:
            return f'{osp.join(folder, other)} exists (other case or suffix)'
    return None


def _existing(name: str, prefix: str) -> Iterator[tuple[str, str]]:
    for variant, reason in _variants(name, osp.basename(osp.normpath(prefix)) if prefix else ''):
        path = osp.join(prefix, variant)
        if variant and not osp.isabs(variant) and osp.isfile(path):
            yield path, reason


def _variants(name: str, last_folder: str) -> Iterator[tuple[str, str]]:
    """Yield names that may be meant, the nearest first, each with what differs."""
    plain = name.replace('\\', '/')
    reason = 'backslashes' if plain != name else ''
    if '://' in plain:
        plain, reason = urlsplit(plain).path.lstrip('/'), 'an address'
    tries = [(plain, reason)]
    if '%' in plain:
        tries.append((unquote(plain), reason or '%-escapes'))
    for text, why in tries:
        for normal in _forms(text):
            own_reason = why or ('composed letters' if normal != text else '')
            if own_reason:
                yield normal, own_reason
            first, _, rest = normal.partition('/')
            if first == last_folder:
                yield rest, own_reason or 'the folder of data_prefix is named twice'
    for text, why in tries:
        for form in _forms(text):
            base = form.rpartition('/')[2]
            yield base, why or 'another folder'
            shortened = _LABEL_STUDIO_PREFIX.sub('', base)
            if shortened != base:
                yield shortened, "Label Studio's prefix"


def _forms(text: str) -> tuple[str, str]:
    """Letters with accents as one character (Linux, Windows), and as two (macOS)."""
    return unicodedata.normalize('NFC', text), unicodedata.normalize('NFD', text)
