"""Resident memory of the process, and what glibc does with memory that tensors on a CPU free."""

import ctypes
import mmap
import os
from pathlib import Path

# From <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def disable_trimming() -> bool:
    """Let glibc keep freed memory for the next tensors instead of returning it to the kernel.

    By default glibc unmaps large blocks; the kernel must zero the pages again at the next
    allocation, which costs as much as some convolutions. The resident memory then stays at its
    peak. Settings of the user's environment (``MALLOC_...``) are respected.

    Returns:
        Whether trimming is off; False without glibc or where the user has set another.
    """
    largest = 2**31 - 1
    return _set_malloc((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, largest))


def share_heap() -> bool:
    """Let all threads that come allocate from one heap.

    By default each has its own, and keeps there what its largest image needed. Settings of the
    user's environment (``MALLOC_...``) are respected.

    Returns:
        Whether they do; False without glibc or where the user has set another.
    """
    return _set_malloc((_M_ARENA_MAX, 1))


def _set_malloc(*settings: tuple[int, int]) -> bool:
    if any(name.startswith('MALLOC_') for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all(mallopt(*each) for each in settings)


def resident_memory() -> float:
    """Return the resident memory of the process in MiB, without mapped files.

    It is 0 where Linux's /proc does not tell.
    """
    try:
        _, resident, mapped = Path('/proc/self/statm').read_text().split()[:3]
    except OSError:
        return 0.0
    return (int(resident) - int(mapped)) * mmap.PAGESIZE / 2**20


def trim_memory() -> bool:
    """Return free pages of glibc's heap to the system (``malloc_trim``).

    Returns:
        Whether there were any; False without glibc.
    """
    try:
        malloc_trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return False
    return bool(malloc_trim(0))
