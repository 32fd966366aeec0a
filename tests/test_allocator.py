"""What happens to the memory of freed tensors, as the kernel counts it."""

import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mmdetr.allocator import return_freed_memory
from mmdetr.engine.hooks import HeapTrimHook

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='about glibc')

FAULTS = """
import resource
import torch
from mmdetr.allocator import keep_freed_memory

def faults():
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(20_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start

before = faults()
kept = keep_freed_memory()
faults()
print(before, kept, faults())
"""


def resident() -> float:
    """MiB of this process without mapped files."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('RssAnon')) / 1024


def leave_holes() -> list[torch.Tensor]:
    """100 MiB of small tensors, between which others have been freed."""
    blocks = [torch.ones(25_000) for _ in range(2000)]
    return blocks[::2]


def test_freed_memory_is_returned() -> None:
    blocks = leave_holes()
    before = resident()
    assert return_freed_memory()
    assert before - resident() > 80
    assert all(block.sum() == 25_000 for block in blocks)


def test_hook_returns_it_every_hundred_iterations() -> None:
    blocks = leave_holes()
    before = resident()
    hook = HeapTrimHook()
    for iteration in range(99):
        hook.after_train_iter(SimpleNamespace(iter=iteration), iteration)
    assert before - resident() < 20
    hook.after_train_iter(SimpleNamespace(iter=99), 99)
    assert before - resident() > 80
    assert len(blocks) == 1000


@pytest.mark.parametrize('setting', [None, '33554432'])
def test_kept_memory_is_not_cleared_again(setting: str | None) -> None:
    environment = {} if setting is None else {'MALLOC_MMAP_THRESHOLD_': setting}
    result = subprocess.run(
        [sys.executable, '-c', FAULTS],
        capture_output=True,
        text=True,
        check=True,
        env={'PYTHONPATH': str(Path(__file__).parents[1]), **environment},
    )
    before, kept, after = result.stdout.split()
    assert int(before) > 100
    if setting is None:
        assert kept == 'True'
        assert int(after) < int(before) / 10
    else:  # the user's choice stands
        assert kept == 'False'
        assert int(after) > int(before) / 2
