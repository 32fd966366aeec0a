"""What keeps inference right in several threads, and from hanging in a forked process."""

import os
import threading
import warnings

import torch


class _Process:
    """What each process has of its own, forked ones included."""

    building = threading.RLock()
    is_new_fork = False


def building() -> threading.RLock:
    """The lock for building from a config, which sets mmengine's default scope for all threads."""
    return _Process.building


def leave_threads_to_parent() -> None:
    """In a forked process, let torch compute in one thread.

    OpenMP's threads are not copied by a fork, and a process that has had some waits for them for
    ever. torch does the same in the workers of a DataLoader.
    """
    if not _Process.is_new_fork:
        return
    _Process.is_new_fork = False
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
        warnings.warn(
            'this process was forked, where several threads of torch may hang: inference runs in '
            "one; start processes with multiprocessing's 'spawn' for more",
            stacklevel=3,
        )


def _begin_fork() -> None:
    _Process.building = threading.RLock()  # another thread of the parent may have held it
    _Process.is_new_fork = True


if hasattr(os, 'register_at_fork'):  # not on Windows
    os.register_at_fork(after_in_child=_begin_fork)
