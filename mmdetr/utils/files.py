"""Content of files."""

import os
import stat
from typing import Any

_BLOCK = 1 << 20
# gzip, zip, bzip2, xz, 7z, zstd
COMPRESSED = (b'\x1f\x8b', b'PK\x03\x04', b'BZh', b'\xfd7zXZ', b'7z\xbc\xaf', b'\x28\xb5\x2f\xfd')


def hash_file(path: str | os.PathLike, digest: Any) -> str:
    """Return the hexadecimal digest of a file's content, read in blocks.

    Args:
        path: The file.
        digest: A fresh object of hashlib.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, 'rb') as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


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


def describe_other_content(content: bytes) -> str | None:
    """Say what a file is that is neither JSON nor an image but came in place of one."""
    if content.startswith(COMPRESSED):
        return 'it is compressed, unpack it first'
    if content.startswith(b'version https://git-lfs'):
        return 'it is a pointer of Git LFS, fetch the file itself with: git lfs pull'
    if content[:200].lstrip()[:9].lower().startswith((b'<!doctype', b'<html', b'<?xml')):
        return 'it is a web page or XML'
    return None
