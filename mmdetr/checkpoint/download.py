"""Checkpoints from the net, kept by their whole address."""

import difflib
import hashlib
import os
import re
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.parse import unquote, urlparse
from urllib.request import Request, urlopen

import torch
from filelock import FileLock

from mmdetr.utils.files import hash_file

_HASH_IN_NAME = re.compile(r'-([0-9a-f]{8,64})\.')
_SECONDS = 30.0  # without a byte from the server
_BLOCK = 1 << 20


def torchvision_url(name: str) -> str:
    """The address of ``torchvision://NAME``.

    Raises:
        ValueError: There are no such weights.
    """
    from mmengine.runner.checkpoint import get_torchvision_models

    urls = get_torchvision_models()
    if name not in urls:
        close = difflib.get_close_matches(name, urls)
        raise ValueError(f'torchvision publishes no weights {name!r}; close names: {close}')
    return urls[name]


def download_folder() -> Path:
    """Where downloads are kept: ``$MMDETR_HOME``, by default torch's hub folder."""
    home = os.environ.get('MMDETR_HOME')
    root = Path(home).expanduser() if home else Path(torch.hub.get_dir())
    return root / 'checkpoints'


def fetch(
    url: str,
    check: Callable[[str], object],
    seconds: float = _SECONDS,
    sha256: str | None = None,
) -> str:
    """Return the local copy of a file, fetched into :func:`download_folder` if it is not there.

    A file whose name has a hash of its content keeps the name, so that torch's own downloads and
    files put there by hand are found; any other has a hash of its address in the name. The hash of
    a file that nobody states one for is noted at the first download and holds from then on. An
    interrupted download is continued where the server can.

    Args:
        url: An ``http(s)://`` address.
        check: Called with the path of a new download; an error from it leaves nothing behind.
        seconds: How long the server may be silent.
        sha256: Of the content, or its first digits.

    Raises:
        OSError: The file cannot be fetched or is not the one that is meant; the message says where
            to put it by hand.
    """
    folder = download_folder()
    folder.mkdir(parents=True, exist_ok=True)
    name = Path(unquote(urlparse(url).path)).name or 'checkpoint'
    stem, suffix = os.path.splitext(name)
    by_address = f'{stem[:80]}-{hashlib.sha256(url.encode()).hexdigest()[:16]}'
    found = _HASH_IN_NAME.search(name)
    stated = sha256 or (found[1] if found else '')
    target = folder / name if found else folder / f'{by_address}{suffix}'
    with FileLock(f'{target}.lock'):
        pinned = target.with_name(f'{target.name}.sha256')
        digest = stated or (pinned.read_text().strip() if pinned.is_file() else '')
        if target.is_file():
            if not digest or hash_file(target, hashlib.sha256()).startswith(digest):
                return str(target)
            if not stated:
                raise OSError(
                    f'{target} is not what {url} was at its first download (its SHA-256 is in '
                    f'{pinned.name}): delete both to fetch it anew'
                )
        part = folder / f'{by_address}.part{suffix}'  # the suffix tells the format
        try:
            _download(url, part, seconds)
            actual = hash_file(part, hashlib.sha256())
            if not actual.startswith(digest):
                part.unlink()
                raise OSError(f'its content does not have the hash {digest} that it should have')
            try:
                check(str(part))
            except Exception:
                part.unlink()
                raise
            if not stated:
                pinned.write_text(f'{actual}\n')
            os.replace(part, target)
        except OSError as error:
            raise OSError(
                f'cannot download {url}: {error}; without network, put the file there as {target}'
            ) from error
    return str(target)


def _download(url: str, part: Path, seconds: float) -> None:
    """Fetch into ``part``, from where an earlier download of the same content was interrupted."""
    mark = part.with_name(f'{part.name}.etag')
    etag = mark.read_text() if part.is_file() and mark.is_file() else ''
    start = part.stat().st_size if etag else 0
    headers = {'User-Agent': 'mmdetr'}
    if start:
        headers |= {'Range': f'bytes={start}-', 'If-Range': etag}
    try:
        response = urlopen(Request(url, headers=headers), timeout=seconds)
    except HTTPError as error:
        if not start or error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        part.unlink()  # nothing follows what is there, which is not known to be whole
        _download(url, part, seconds)
        return
    with response:
        continued = start and response.status == HTTPStatus.PARTIAL_CONTENT
        start = start if continued else 0
        etag = response.headers.get('ETag') or ''
        announced = response.headers.get('Content-Length')
        # A weak tag does not promise the same bytes.
        keep = bool(etag) and not etag.startswith('W/')
        if keep:
            mark.write_text(etag)
        try:
            with open(part, 'ab' if continued else 'wb') as file:
                size = _copy(response, file)
            if announced is not None and int(announced) != size:
                raise OSError(f'{start + size} of {start + int(announced)} bytes came')
        except BaseException:
            if not keep:
                part.unlink(missing_ok=True)
            raise
    mark.unlink(missing_ok=True)


def _copy(source: BinaryIO, target: BinaryIO) -> int:
    size = 0
    while block := source.read(_BLOCK):
        size += target.write(block)
    return size
