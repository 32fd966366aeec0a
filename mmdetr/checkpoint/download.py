"""Checkpoints from the net, kept by their whole address."""

import difflib
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
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


def fetch(url: str, check: Callable[[str], object], seconds: float = _SECONDS) -> str:
    """Return the local copy of a file in torch's hub folder, fetched if it is not there.

    A file whose name has a hash of its content keeps the name, so that torch's own downloads and
    files put there by hand are found; any other has a hash of its address in the name.

    Args:
        url: An ``http(s)://`` address.
        check: Called with the path of a new download; an error from it leaves nothing behind.
        seconds: How long the server may be silent.

    Raises:
        OSError: The file cannot be fetched or is not whole.
    """
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    folder.mkdir(parents=True, exist_ok=True)
    name = Path(unquote(urlparse(url).path)).name or 'checkpoint'
    stem, suffix = os.path.splitext(name)
    by_address = folder / f'{stem[:80]}-{hashlib.sha256(url.encode()).hexdigest()[:16]}{suffix}'
    found = _HASH_IN_NAME.search(name)
    digest = found[1] if found else ''
    target = folder / name if digest else by_address
    with FileLock(f'{target}.lock'):
        if target.is_file() and (
            not digest or hash_file(target, hashlib.sha256()).startswith(digest)
        ):
            return str(target)
        part = target.with_name(f'{os.getpid()}-{target.name}')  # the suffix tells the format
        try:
            _download(url, part, seconds)
            if digest and not hash_file(part, hashlib.sha256()).startswith(digest):
                raise OSError('its content does not have the hash in its name')
            check(str(part))
            os.replace(part, target)
        except OSError as error:
            raise OSError(f'cannot download {url} to {target}: {error}') from error
        finally:
            part.unlink(missing_ok=True)
    return str(target)


def _download(url: str, path: Path, seconds: float) -> None:
    request = Request(url, headers={'User-Agent': 'mmdetr'})
    with urlopen(request, timeout=seconds) as response, open(path, 'wb') as file:
        size = _copy(response, file)
        announced = response.headers.get('Content-Length')
    if announced is not None and int(announced) != size:
        raise OSError(f'{size} of {announced} bytes came')


def _copy(source: BinaryIO, target: BinaryIO) -> int:
    size = 0
    while block := source.read(_BLOCK):
        size += target.write(block)
    return size
