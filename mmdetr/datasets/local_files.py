"""Read local files that are files: a pipe or a device never ends, and /proc never says its size."""

import os
import stat
from typing import Any

import mmengine.fileio as fileio


def is_local(path: str, backend_args: dict | None = None) -> bool:
    """Say whether mmengine reads a path from the local file system."""
    if backend_args is not None:
        return backend_args.get('backend') == 'local'
    return '://' not in path and not path.startswith('s3:')


def check_regular(path: str, status: os.stat_result | None = None) -> None:
    """Refuse what is no regular file.

    Raises:
        FileNotFoundError: There is nothing.
        ValueError: It is a folder, a pipe, a socket or a device, or it states no bytes, as an
            empty file and those of /proc do.
    """
    status = os.stat(path) if status is None else status
    if not stat.S_ISREG(status.st_mode):
        raise ValueError('it is no regular file but a folder, pipe, socket or device')
    if status.st_size == 0:
        raise ValueError('the file is empty')


def read_file(path: str, backend_args: dict | None = None) -> bytes:
    """Read a file of mmengine's backends; a local one must pass :func:`check_regular`."""
    if is_local(path, backend_args):
        check_regular(path)
    content: Any = fileio.get(path, backend_args=backend_args)
    return content
