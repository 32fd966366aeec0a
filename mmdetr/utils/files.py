"""Content of files."""

import os
from typing import Any

_BLOCK = 1 << 20


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
