"""Reading and writing checkpoint files: reading runs no code, writing never leaves half a file."""

import difflib
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO
from urllib.parse import urlparse

import torch
from filelock import FileLock

from .safe_types import SAFE_TYPES

MapLocation = str | torch.device | Callable | dict | None

_TEMPORARY_NAME = re.compile(r'\..+\.\d+\.tmp')
# What torch's unpickler and safe_types.py say about content that is not plain data.
_REFUSED = re.compile(
    r'GLOBAL \S+|unrecognized function .+|Can only (create|build) .+|numpy (data|array) .+'
)
_HASH_IN_NAME = re.compile(r'-([0-9a-f]{8,})\.')


class CheckpointError(RuntimeError):
    """A checkpoint file that cannot be used: truncated, foreign, or asking to run code."""


def load_file(
    path: str | os.PathLike, map_location: MapLocation = 'cpu', verify: bool = False
) -> Any:
    """Read a checkpoint without running any code that the file may contain.

    Args:
        path: A local file, an ``http(s)://`` address or ``torchvision://NAME``. Downloads are kept
            in torch's hub folder. ``.safetensors`` is read as such, anything else as torch.save
            wrote it.
        map_location: As in :func:`torch.load`.
        verify: Compare the checksums inside a torch zip file, so that a changed bit is noticed.

    Raises:
        FileNotFoundError: No such file.
        CheckpointError: The file is truncated, no checkpoint, or holds more than plain data.
    """
    path = _local_copy(os.fspath(path))
    if not os.path.isfile(path):
        raise FileNotFoundError(f'checkpoint file not found: {path}')
    if path.endswith('.safetensors'):
        return _load_safetensors(path, map_location)
    if verify:
        _verify_checksums(path)
    return _load_pickle(path, map_location)


def save_file(obj: Any, path: str | os.PathLike) -> None:
    """torch.save that keeps the previous file until the new one is completely on disk.

    Raises:
        OSError: The file cannot be written; a previous file of that name is untouched.
    """
    with atomic_write(path) as file:
        torch.save(obj, file)


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a file that takes its name only once it is complete and on disk.

    Raises:
        OSError: The file cannot be written; a previous file of that name is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with open(temporary, 'wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):  # in a folder that cannot be written even this is an error
            temporary.unlink()
        cause = _os_error_behind(error)
        if cause is None:
            raise
        kept = '; the previous file of that name is intact' if os.path.exists(path) else ''
        raise OSError(cause.errno, f'cannot write {path}: {cause.strerror}{kept}') from error
    _sync_folder(path.parent)


def remove_temporary_files(folder: str | os.PathLike) -> list[Path]:
    """Delete what killed writers left in a folder; returns the deleted paths."""
    stray = [path for path in Path(folder).glob('.*.tmp') if _TEMPORARY_NAME.fullmatch(path.name)]
    for path in stray:
        path.unlink(missing_ok=True)
    return stray


def _load_pickle(path: str, map_location: MapLocation) -> Any:
    try:
        with torch.serialization.safe_globals(SAFE_TYPES):
            return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:
        refused = _REFUSED.search(str(error)) if isinstance(error, UnpicklingError) else None
        if refused:
            raise CheckpointError(
                f'{path} asks for more than plain data: {refused[0]}. Nothing of it was executed. '
                'Get a file with the bare state dict (or .safetensors); if you trust the source, '
                'make one with torch.load(..., weights_only=False) and torch.save.'
            ) from error
        raise CheckpointError(f'{path} is truncated or no checkpoint: {_reason(error)}') from error


def _load_safetensors(path: str, map_location: MapLocation) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file as load_safetensors

    device = str(map_location) if isinstance(map_location, str | torch.device) else 'cpu'
    try:
        return load_safetensors(path, device=device)
    except SafetensorError as error:
        raise CheckpointError(
            f'{path} is truncated or no safetensors file: {_reason(error)}'
        ) from error


def _verify_checksums(path: str) -> None:
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError) as error:
        raise CheckpointError(f'{path} is truncated or no checkpoint: {_reason(error)}') from error
    if damaged is not None:
        raise CheckpointError(f'{path} is damaged: the checksum of its part {damaged} is wrong')


def _reason(error: Exception) -> str:
    """The telling part of an error; torch puts paragraphs of advice around it."""
    text = str(error).rpartition('WeightsUnpickler error: ')[2]
    return f'{type(error).__name__} {text.partition(". ")[0].splitlines()[:1]}'


def _local_copy(address: str) -> str:
    """The path of a checkpoint on this machine, downloaded if need be."""
    scheme, separator, name = address.partition('://')
    if not separator:
        return os.path.expanduser(address)
    if scheme == 'torchvision':
        return _download(_torchvision_url(name))
    if scheme in ('http', 'https'):
        return _download(address)
    raise ValueError(
        f'{address}: unknown scheme {scheme}://; give a local file, http(s):// or torchvision://'
    )


def _torchvision_url(name: str) -> str:
    from mmengine.runner.checkpoint import get_torchvision_models

    urls = get_torchvision_models()
    if name not in urls:
        close = difflib.get_close_matches(name, urls)
        raise ValueError(f'torchvision publishes no weights {name!r}; close names: {close}')
    return urls[name]


def _download(url: str) -> str:
    """Fetch a file into torch's hub folder, once, even when several processes ask for it."""
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / Path(urlparse(url).path).name
    with FileLock(f'{target}.lock'):
        if not target.exists():
            digest = _HASH_IN_NAME.search(target.name)
            try:
                torch.hub.download_url_to_file(url, str(target), digest[1] if digest else None)
            except OSError as error:
                raise OSError(f'cannot download {url} to {target}: {error}') from error
    return str(target)


def _os_error_behind(error: BaseException | None) -> OSError | None:
    """The operating system's complaint that torch wrapped into an error of its own."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power failure, where the system can."""
    if os.name != 'posix':
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
