"""Read local files that are files: a pipe or a device never ends, and /proc never says its size."""

from typing import Any

import mmengine.fileio as fileio

from mmdetr.utils.files import check_regular


def is_local(path: str, backend_args: dict | None = None) -> bool:
    """Say whether mmengine reads a path from the local file system."""
    if backend_args is not None:
        return backend_args.get('backend') == 'local'
    return '://' not in path and not path.startswith('s3:')


def read_file(path: str, backend_args: dict | None = None) -> bytes:
    """Read a file of mmengine's backends; a local one must pass :func:`check_regular`."""
    if is_local(path, backend_args):
        check_regular(path)
    content: Any = fileio.get(path, backend_args=backend_args)
    return content
