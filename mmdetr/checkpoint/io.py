"""Reading and writing checkpoint files: reading runs no code, writing never leaves half a file."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from threading import RLock
from typing import Any, BinaryIO

import torch

from .archive import ArchiveError, check_archive
from .download import fetch, torchvision_url
from .foreign_files import is_safetensors, is_torch_zip, kind_of_file
from .pickle_scan import PickleError, check_pickle
from .safe_types import SAFE_TYPES

MapLocation = str | torch.device | Callable | dict | None

_TEMPORARY_NAME = re.compile(r'\..+\.\d+\.tmp')
# What torch's unpickler and safe_types.py say about content that is not plain data.
_REFUSED = re.compile(
    r'GLOBAL \S+|unrecognized function .+|Can only (create|build) .+|numpy (data|array) .+'
)
_TORCH_SETTINGS = ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD')
_PICKLES = 5  # magic number, protocol, system, content, keys of the storages
_environment_lock = RLock()


class CheckpointError(RuntimeError):
    """A checkpoint file that cannot be used: truncated, foreign, or asking to run code."""


def load_file(
    path: str | os.PathLike, map_location: MapLocation = 'cpu', verify: bool = True
) -> Any:
    """Read a checkpoint without running any code that the file may contain.

    Args:
        path: A local file, an ``http(s)://`` address or ``torchvision://NAME``. Downloads are kept
            in torch's hub folder. Files of torch.save and of safetensors are told by content.
        map_location: As in :func:`torch.load`.
        verify: Compare the checksums inside a torch zip file, so that a changed bit is noticed.

    Raises:
        FileNotFoundError: No such file.
        CheckpointError: The file is truncated, no checkpoint, or holds more than plain data.
    """
    return _read(_local_copy(os.fspath(path)), map_location, verify)


def fetch_weights(address: str, sha256: str | None = None) -> str:
    """Make sure that weights from the net are on this machine.

    Args:
        address: ``http(s)://`` or anything that :func:`read_checkpoint` takes.
        sha256: Of the file, or its first digits, where someone states it.

    Returns:
        The file; an address of another kind as it is.

    Raises:
        OSError: The file cannot be fetched, or is another.
        CheckpointError: It is no checkpoint.
    """
    if not address.startswith(('http://', 'https://')):
        return address
    return fetch(address, partial(_check_download, address), sha256=sha256)


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


def _read(path: str, map_location: MapLocation = 'cpu', verify: bool = True) -> Any:
    if not os.path.exists(path):
        raise FileNotFoundError(f'checkpoint file not found: {path}')
    if not os.path.isfile(path):
        raise CheckpointError(f'{path} is a folder, pipe or device: give a file')
    zipped = is_torch_zip(path)
    if is_safetensors(path) or (path.endswith('.safetensors') and not zipped):
        return _load_safetensors(path, map_location)
    return _load_pickle(path, map_location, verify, zipped)


def _load_pickle(path: str, map_location: MapLocation, verify: bool, zipped: bool) -> Any:
    try:
        if zipped:
            check_archive(path, verify)
        else:
            _check_pickles(path)
        with (
            _without_torch_settings(),
            torch.serialization.safe_globals(SAFE_TYPES),
            open(path, 'rb') as file,  # the name would make torch read .safetensors as such
        ):
            return torch.load(file, map_location=map_location, weights_only=True)
    except (ArchiveError, PickleError) as error:
        raise CheckpointError(f'{path} {error}') from error
    except Exception as error:
        refused = _REFUSED.search(str(error)) if isinstance(error, UnpicklingError) else None
        if refused:
            raise CheckpointError(
                f'{path} asks for more than plain data: {refused[0]}. Nothing of it was executed. '
                'Get a file with the bare state dict (or .safetensors); if you trust the source, '
                'make one with torch.load(..., weights_only=False) and torch.save.'
            ) from error
        raise CheckpointError(_no_checkpoint(path, error)) from error


def _check_pickles(path: str) -> None:
    """Look over a file of torch's older format, which has several pickles before the numbers."""
    with open(path, 'rb') as file:
        for _ in range(_PICKLES):
            check_pickle(file)


@contextmanager
def _without_torch_settings() -> Iterator[None]:
    """Hide the variables by which torch may overrule, or refuse, what a call asks for."""
    with _environment_lock:
        hidden = {name: os.environ.pop(name) for name in _TORCH_SETTINGS if name in os.environ}
        try:
            yield
        finally:
            os.environ.update(hidden)


def _load_safetensors(path: str, map_location: MapLocation) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file as load_safetensors

    device = str(map_location) if isinstance(map_location, str | torch.device) else 'cpu'
    try:
        return load_safetensors(path, device=device)
    except SafetensorError as error:
        raise CheckpointError(_no_checkpoint(path, error)) from error


def _no_checkpoint(path: str, error: Exception) -> str:
    kind = kind_of_file(path)
    reason = f'it is {kind}' if kind else _reason(error)
    return f'{path} is truncated or no checkpoint: {reason}'


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
        return fetch(torchvision_url(name), partial(_check_download, address))
    if scheme in ('http', 'https'):
        return fetch(address, partial(_check_download, address))
    raise ValueError(
        f'{address}: unknown scheme {scheme}://; give a local file, http(s)://, hf:// or '
        'torchvision://'
    )


def _check_download(address: str, path: str) -> None:
    try:
        _read(path)
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(path, address)) from error


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
