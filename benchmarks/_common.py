"""What the benchmarks share: where they ran, alternating timing, results as JSON."""

import datetime
import gc
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / 'results'
PACKAGES = ('torch', 'torchvision', 'mmengine', 'numpy', 'pillow')


def machine() -> dict[str, str]:
    """Processor, GPU, threads and versions: what a timing depends on besides the code."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'
    return dict(
        cpu=_cpu_name(),
        cores=str(os.cpu_count()),
        gpu=gpu,
        threads=str(torch.get_num_threads()),
        system=f'{platform.system()} {platform.machine()}',
        python=platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    )


def compare(
    variants: dict[str, Callable[[], Any]], repeats: int, warmup: int = 1
) -> dict[str, list[float]]:
    """Times several ways to do the same in turns, so that a slow minute hits all of them.

    Every round calls each variant once, and every other round backwards. The cycle collector runs
    between the calls and not in them; a GPU has finished before a clock is read.

    Args:
        variants: What to call, by name.
        repeats: Rounds that are timed.
        warmup: Rounds before them that are not.

    Returns:
        Wall time of each call in seconds, by name; the i-th of all lists are of the same round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    gc.collect()
    gc.freeze()  # or each collection would walk all that was imported
    try:
        for round_number in range(-warmup, repeats):
            names = list(variants) if round_number % 2 == 0 else list(variants)[::-1]
            for name in names:
                taken = _seconds(variants[name])
                if round_number >= 0:
                    seconds[name].append(taken)
    finally:
        gc.unfreeze()
    return seconds


def summary(times: list[float]) -> str:
    """Like ``median 1.23 s (1.20 to 1.31, n = 7)``; shorter times in ms."""
    middle, low, high = statistics.median(times), min(times), max(times)
    factor, unit = (1, 's') if middle >= 1 else (1000, 'ms')
    return (
        f'median {factor * middle:.3g} {unit} '
        f'({factor * low:.3g} to {factor * high:.3g}, n = {len(times)})'
    )


def ratio(reference: list[float], ours: list[float]) -> tuple[float, float, float]:
    """How many times faster we are: median, lowest and highest over the rounds of `compare`."""
    ratios = [theirs / own for theirs, own in zip(reference, ours, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def write_result(name: str, payload: dict[str, Any]) -> Path:
    """Writes ``benchmarks/results/NAME.json`` with date, command and machine, and says where."""
    content = dict(
        date=datetime.date.today().isoformat(), command=command(), machine=machine(), **payload
    )
    path = RESULTS / f'{name}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
    print(f'wrote {path}')
    return path


def _seconds(call: Callable[[], Any]) -> float:
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        _wait_for_gpu()
        start = time.perf_counter()
        call()
        _wait_for_gpu()
        return time.perf_counter() - start
    finally:
        if was_enabled:
            gc.enable()


def _wait_for_gpu() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def command() -> str:
    """The command line; of absolute paths the last part, as results are shared."""
    script = Path(sys.argv[0]).resolve()
    root = RESULTS.parents[1]
    shown = script.relative_to(root) if script.is_relative_to(root) else script.name
    arguments = [Path(each).name if os.path.isabs(each) else each for each in sys.argv[1:]]
    return shlex.join(['python', str(shown), *arguments])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return 'not installed'


def _cpu_name() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.machine()
