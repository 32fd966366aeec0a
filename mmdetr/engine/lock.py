"""One training at a time in a work directory."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from logging import Logger
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # there is no such lock outside of Unix
    fcntl = None  # type: ignore[assignment]

_FILE = 'training.lock'
# The system's locks do not keep two users in one process apart.
_held: dict[Path, IO[str]] = {}


class WorkDirInUseError(RuntimeError):
    """Another training writes into the work directory."""


@contextlib.contextmanager
def work_dir_lock(work_dir: str | Path, logger: Logger) -> Iterator[None]:
    """Keep other trainings out of a work directory for the time being.

    The system gives the lock back when the process ends, in whatever way: what a killed run leaves
    is an unlocked file. Worker processes do not inherit it.

    Raises:
        WorkDirInUseError: Another training has it; the message names its process.
    """
    path = (Path(work_dir) / _FILE).resolve()
    if path in _held:
        raise WorkDirInUseError(_in_use(path, f'this process ({os.getpid()})'))
    if fcntl is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, 'a'))
            if not _lock(file):
                raise WorkDirInUseError(_in_use(path, _holder(path)))
            file.truncate(0)
            file.write(f'process {os.getpid()} on {socket.gethostname()}')
            file.flush()
            _held[path] = file
            stack.callback(_held.pop, path)
        except OSError as error:  # some network file systems have no locks
            logger.warning(f'{path} cannot be locked: {error.strerror}')
        yield


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True


def _holder(path: Path) -> str:
    try:
        return path.read_text()[:200].strip() or 'another process'
    except (OSError, ValueError):
        return 'another process'


def _in_use(path: Path, holder: str) -> str:
    return (
        f'{path.parent} is in use by another training, of {holder}: wait for it, end it, or '
        'choose another work_dir'
    )
