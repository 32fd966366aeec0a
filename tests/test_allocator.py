"""What happens to the memory of freed tensors, as the kernel counts it."""

import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mmdetr.allocator import held_memory, return_freed_memory
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


def leave_holes(mib: int) -> list[torch.Tensor]:
    """So much memory in small tensors, of which every other one has been freed."""
    blocks = [torch.ones(25_000) for _ in range(mib * 2**20 // 100_000)]
    return blocks[::2]


def test_held_memory() -> None:
    before = held_memory()
    block = torch.ones(25 * 2**20)
    assert held_memory() - before == pytest.approx(block.nbytes / 2**20, abs=5)


def test_freed_memory_is_returned() -> None:
    blocks = leave_holes(200)
    before = held_memory()
    assert return_freed_memory()
    assert before - held_memory() > 80
    assert all(block.sum() == 25_000 for block in blocks)


def test_hook_returns_it_when_it_is_two_fifths_of_a_step() -> None:
    hook = HeapTrimHook()
    runner = SimpleNamespace()
    for iteration in range(3):  # the second shows what a step needs
        hook.after_train_iter(runner, iteration)
    needed = held_memory()
    blocks = leave_holes(int(0.3 * needed))
    hook.after_train_iter(runner, 3)
    assert held_memory() > 1.25 * needed
    blocks += leave_holes(int(0.4 * needed))  # half of the first ones' memory in their holes
    assert held_memory() > 1.45 * needed
    hook.after_train_iter(runner, 4)
    assert 1.25 * needed < held_memory() < 1.4 * needed
    hook.after_train_iter(runner, 5)  # half of what the blocks need counts
    before = held_memory()
    hook.after_train_iter(runner, 6)
    assert held_memory() == pytest.approx(before, abs=5)
    blocks += leave_holes(int(0.5 * needed))
    before = held_memory()
    hook.after_train_iter(runner, 7)
    assert held_memory() < before - 0.1 * needed


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
