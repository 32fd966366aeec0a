"""How the C library treats memory that tensors on a CPU give back."""

import ctypes
import mmap
import os
from pathlib import Path

# From <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Let the process keep freed memory for its next tensors instead of returning it.

    glibc hands every large block back to the kernel, which clears each page again when the next
    feature map wants it; in a detector on a CPU that takes as long as a part of the convolutions.
    The process then stays as large as it once was. Settings of the user's environment
    (``MALLOC_...``) are respected.

    Returns:
        Whether the setting is in force; False without glibc or where the user has set another.
    """
    if any(name.startswith('MALLOC_') for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    largest = 2**31 - 1
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, largest))


def held_memory() -> float:
    """MiB that the process holds besides mapped files; 0 where Linux's /proc does not tell."""
    try:
        _, resident, mapped = Path('/proc/self/statm').read_text().split()[:3]
    except OSError:
        return 0.0
    return (int(resident) - int(mapped)) * mmap.PAGESIZE / 2**20


def return_freed_memory() -> bool:
    """Give the system the pages of freed blocks that the C library keeps between those in use.

    Returns:
        Whether there were any; False without glibc.
    """
    try:
        malloc_trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return False
    return bool(malloc_trim(0))
