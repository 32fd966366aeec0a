"""What happens to the memory of freed tensors, as the kernel counts it."""

import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mmdetr.engine.hooks import MallocTrimHook, malloc_trim_hook
from mmdetr.utils.memory import resident_memory, trim_memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='about glibc')

FAULTS = """
import resource
import torch
from mmdetr.utils.memory import disable_trimming

def faults():
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(20_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start

before = faults()
kept = disable_trimming()
faults()
print(before, kept, faults())
"""


HEAPS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from mmdetr.utils.memory import disable_trimming, resident_memory, share_heap

if sys.argv[1] == 'shared':
    assert share_heap()
assert disable_trimming()
before = resident_memory()
for thread in [ThreadPoolExecutor(1) for _ in range(4)]:
    thread.submit(lambda: len(b'1' * 40_000_000)).result()
print(resident_memory() - before)
"""


def leave_holes(mib: int) -> list[torch.Tensor]:
    """So much memory in small tensors, of which every other one has been freed."""
    blocks = [torch.ones(25_000) for _ in range(mib * 2**20 // 100_000)]
    return blocks[::2]


def test_resident_memory() -> None:
    trim_memory()  # else the block may lie where earlier tests freed memory
    before = resident_memory()
    block = torch.ones(25 * 2**20)
    assert resident_memory() - before == pytest.approx(block.nbytes / 2**20, abs=5)


def test_threads_that_share_a_heap_keep_one_block_and_not_one_each() -> None:
    kept = [
        float(
            subprocess.run(
                [sys.executable, '-c', HEAPS, how],
                capture_output=True,
                check=True,
                env={'PYTHONPATH': str(Path(__file__).parents[2])},
            ).stdout
        )
        for how in ('shared', 'single')
    ]
    assert kept[0] < 60
    assert kept[1] > 140


def test_freed_memory_is_returned() -> None:
    blocks = leave_holes(200)
    before = resident_memory()
    assert trim_memory()
    assert before - resident_memory() > 80
    assert all(block.sum() == 25_000 for block in blocks)


def test_hook_returns_it_when_it_is_two_fifths_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    returned = []
    # MiB held after each step, and whether some of it is to go: first to see what a step needs,
    # then at 1.4 times the average of what was held after the steps that followed.
    steps = [(500, True), (300, False), (419, False), (421, True), (500, False), (559, False)]
    steps += [(561, True), (250, False), (489, False), (491, True)]
    monkeypatch.setattr(malloc_trim_hook, 'trim_memory', lambda: returned.append(1) or True)
    hook = MallocTrimHook()
    for iteration, (held, returns) in enumerate(steps):
        monkeypatch.setattr(malloc_trim_hook, 'resident_memory', lambda held=held: held)
        returned.clear()
        hook.after_train_iter(SimpleNamespace(), iteration)
        assert bool(returned) == returns, (iteration, held)


@pytest.mark.parametrize('has_gpu', [False, True])
def test_hook_keeps_memory_in_a_training_on_a_cpu_and_returns_it_at_the_end(
    has_gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: has_gpu)
    monkeypatch.setattr(malloc_trim_hook, 'disable_trimming', lambda: done.append('keep'))
    monkeypatch.setattr(malloc_trim_hook, 'trim_memory', lambda: done.append('return'))
    hook = MallocTrimHook()
    hook.before_train(SimpleNamespace())
    hook.after_train(SimpleNamespace())
    assert done == ([] if has_gpu else ['keep', 'return'])


@pytest.mark.parametrize('setting', [None, '33554432'])
def test_kept_memory_is_not_cleared_again(setting: str | None) -> None:
    environment = {} if setting is None else {'MALLOC_MMAP_THRESHOLD_': setting}
    result = subprocess.run(
        [sys.executable, '-c', FAULTS],
        capture_output=True,
        text=True,
        check=True,
        env={'PYTHONPATH': str(Path(__file__).parents[2]), **environment},
    )
    before, kept, after = result.stdout.split()
    assert int(before) > 100
    if setting is None:
        assert kept == 'True'
        assert int(after) < int(before) / 10
    else:  # the user's choice stands
        assert kept == 'False'
        assert int(after) > int(before) / 2
