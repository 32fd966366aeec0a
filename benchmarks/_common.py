"""What the benchmarks share: options, where they ran, timing in turns, tables, results as JSON.

Imports nothing that takes long, so that a script can parse its command line first.
"""

import argparse
import datetime
import gc
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / 'results'
COCO_CONFIG = ROOT / 'configs' / 'detr_r50_8xb2-150e_coco.py'
DEMO = ROOT / 'configs' / 'detr_tiny_1xb32-12e_shapes.py'
PACKAGES = ('torch', 'torchvision', 'mmengine', 'numpy', 'pillow')

# Options


def parser(
    doc: str, *, repeats: int = 0, size: tuple[int, int] | None = None, authors: bool = False
) -> argparse.ArgumentParser:
    """Parser of a script whose docstring is the text of ``--help``.

    Args:
        doc: The docstring.
        repeats: Default of ``--repeats``; without it there is no such option.
        size: Default of ``--size``, likewise.
        authors: Whether there is ``--authors``.
    """
    options = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if repeats:
        options.add_argument(
            '--repeats', type=positive, default=repeats, help=f'timed rounds (default: {repeats})'
        )
    if size:
        options.add_argument('--size', type=positive, nargs=2, default=size, metavar=('H', 'W'))
    if authors:
        options.add_argument(
            '--authors', type=_authors, help='checkout of facebookresearch/detr to compare with'
        )
    return options


def add_device(options: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    options.add_argument('--device', default='cpu', help='cpu or cuda (default: cpu)')


def positive(text: str) -> int:
    """Type of an option that counts something."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f'{text} is not a whole number of 1 or more')
    return number


def existing_file(text: str) -> Path:
    """Type of an option that names a file."""
    if not os.path.isfile(text):
        raise argparse.ArgumentTypeError(f'file not found: {text}')
    return Path(text)


def _authors(text: str) -> Path:
    if not (Path(text) / 'datasets' / 'transforms.py').is_file():
        raise argparse.ArgumentTypeError(
            f'{text} holds no datasets/transforms.py of facebookresearch/detr'
        )
    return Path(text)


# Where something ran


def machine() -> dict[str, str]:
    """Processor, GPU, threads and versions: what a timing depends on besides the code."""
    import torch

    bfloat16 = torch.backends.mkldnn.is_available() and (
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    return dict(
        cpu=_cpu_name(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        onednn_bfloat16='yes' if bfloat16 else 'no',
        cores=str(os.cpu_count()),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else 'none',
        threads=str(torch.get_num_threads()),
        system=f'{platform.system()} {platform.machine()}',
        python=platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    )


def machine_line(found: dict[str, str]) -> str:
    """The machine of a result in a line; results of 0.1.0 do not know the kind of CPU."""
    kind = ''
    if 'cpu_capability' in found:
        kind = f' ({found["cpu_capability"]}, oneDNN bfloat16: {found["onednn_bfloat16"]})'
    return (
        f'{found["cpu"]}{kind}, {found["cores"]} cores, {found["threads"]} threads, '
        f'GPU: {found["gpu"]}, Python {found["python"]}, torch {found["torch"]}, '
        f'torchvision {found["torchvision"]}'
    )


def command() -> str:
    """The command line; of absolute paths the last part, as results are shared."""
    script = Path(sys.argv[0]).resolve()
    shown = script.relative_to(ROOT) if script.is_relative_to(ROOT) else script.name
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


# Timing


class Ratio(NamedTuple):
    """How many times faster one is than the other, over the rounds of `time_in_turns`."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f'{self.median:.2f} ({self.low:.2f} to {self.high:.2f})'


def time_in_turns(
    variants: dict[str, Callable[[], Any]],
    repeats: int,
    warmup: int = 1,
    clock: Callable[[], float] | None = None,
) -> dict[str, list[float]]:
    """Time several ways to do the same in turns, so that a slow minute hits all of them.

    Every round calls each variant once, and every other round backwards. The cycle collector runs
    between the calls and not in them; a GPU has finished before a clock is read.

    Args:
        variants: What to call, by name.
        repeats: Rounds that are timed.
        warmup: Rounds before them that are not.
        clock: What to time with, ``time.perf_counter`` by default; ``time.process_time`` counts CPU
            time, which other processes disturb less.

    Returns:
        Time of each call in seconds, by name; the i-th of all lists are of the same round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    gc.collect()
    gc.freeze()  # or each collection would walk all that was imported
    try:
        for round_number in range(-warmup, repeats):
            names = list(variants) if round_number % 2 == 0 else list(variants)[::-1]
            for name in names:
                taken = _seconds(variants[name], clock or time.perf_counter)
                if round_number >= 0:
                    seconds[name].append(taken)
    finally:
        gc.unfreeze()
    return seconds


def summary(times: Sequence[float]) -> str:
    """Like ``median 1.23 s (1.20 to 1.31, n = 7)``; shorter times in ms."""
    middle, low, high = statistics.median(times), min(times), max(times)
    factor, unit = (1, 's') if middle >= 1 else (1000, 'ms')
    return (
        f'median {factor * middle:.3g} {unit} '
        f'({factor * low:.3g} to {factor * high:.3g}, n = {len(times)})'
    )


def ratio(reference: list[float], ours: list[float]) -> Ratio:
    """How many times faster ours is: median, lowest and highest over the rounds."""
    ratios = [theirs / own for theirs, own in zip(reference, ours, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def _seconds(call: Callable[[], Any], clock: Callable[[], float]) -> float:
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        wait_for_gpu()
        start = clock()
        call()
        wait_for_gpu()
        return clock() - start
    finally:
        if was_enabled:
            gc.enable()


def wait_for_gpu() -> None:
    """Return when a GPU has done all that it was given."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


# Results


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of a Markdown table under their headings."""
    lines = [''.join(f'| {cell} ' if cell else '| ' for cell in line) for line in (columns, *rows)]
    lines.insert(1, '|---' * len(columns))
    return '\n'.join(f'{line}|' for line in lines) + '\n'


def heading(title: str) -> str:
    """Title, date, machine and command line of a page of results."""
    today = datetime.date.today().isoformat()
    return f'# {title}\n\n{today}; {machine_line(machine())}.\n\n```bash\n{command()}\n```\n'


def write_page(name: str, text: str, folder: Path | None = None) -> None:
    """Print a page and write it to ``NAME.md`` in the folder, benchmarks/results by default."""
    print(text)
    _write((folder or RESULTS) / f'{name}.md', text)


def write_result(name: str, payload: dict[str, Any], device: str = 'cpu') -> None:
    """Write ``benchmarks/results/NAME_KIND.json`` with date, command and machine, and say where.

    KIND is that of the CPU, or the name of the GPU that ``device`` is, so that results of several
    kinds stand side by side.
    """
    found = machine()
    content = dict(
        date=datetime.date.today().isoformat(), command=command(), machine=found, **payload
    )
    kind = found['cpu_capability' if device == 'cpu' else 'gpu'].replace(' ', '')
    _write(RESULTS / f'{name}_{kind}.json', json.dumps(content, indent=2) + '\n')


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')
    print(f'wrote {path}')


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    """A figure that needs no display, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout='constrained')
    return figure, figure.subplots(rows, columns)
