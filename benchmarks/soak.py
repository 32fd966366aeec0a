"""Trains for a while and watches the memory of every process: it should stay flat.

    python benchmarks/soak.py --minutes 30

A small DETR is trained on generated JPEG files by COCO's pipeline, all its sizes divided by four,
with two workers. The annotation file lists as many images as COCO does (the files repeat), so
that workers have a list to copy if reading it makes them. Each epoch of 300 iterations ends with a
checkpoint and a validation. Needs Linux, whose /proc tells what a process does not share.

Writes benchmarks/results/soak.md and soak.png; ends with 1 where memory grows.
"""

import argparse
import multiprocessing
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _common import RESULTS, heading, new_figure, parser, table, write_page

# Growth that is called flat, of what a process holds by itself: within the noise of an allocator
# that sees another image size every time.
TOLERATED_SHARE = 0.02
TOLERATED_MIB = 8.0
SHORTEST = 5  # minutes; the workers for validation start after the first epoch


@dataclass
class Memory:
    """Samples of one process: training seconds and MiB.

    Of a worker that is memory of its own: the rest it shares with the main process it was forked
    from. Of the main process it is all but mapped files, whose pages the kernel takes as it likes.
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    size: list[float] = field(default_factory=list)

    def peaks(self) -> tuple[np.ndarray, np.ndarray]:
        """Whole minutes of training, and the most that was held in each."""
        minutes = np.array(self.seconds) // 60
        whole = np.unique(minutes[minutes < self.seconds[-1] // 60])
        return whole, np.array([np.array(self.size)[minutes == i].max() for i in whole])

    def growth(self) -> tuple[float, float]:
        """Of the peaks' last two thirds: slope of their line in MiB per hour, its rise in MiB."""
        minutes, size = self.peaks()
        late = minutes >= minutes[-1] / 3
        slope = np.polyfit(minutes[late], size[late], 1)[0]
        return slope * 60, slope * np.ptp(minutes[late])

    def is_flat(self) -> bool:
        return self.growth()[1] <= max(TOLERATED_MIB, TOLERATED_SHARE * np.median(self.size))


def watch(child: Any, progress: Any, interval: float) -> list[Memory]:
    """Sample the child and its workers until the child ends."""
    memories: dict[int, Memory] = {}
    heap = Memory('main process, heap in use')
    while child.is_alive():
        child.join(interval)
        seconds = progress[0]
        if not seconds:  # still reading the data
            continue
        heap.seconds.append(seconds)
        heap.size.append(progress[3])
        for pid in [child.pid, *children_of(child.pid)]:
            try:
                size = anonymous(pid) if pid == child.pid else own(pid)
            except (OSError, ValueError):  # it has just ended
                continue
            memory = memories.setdefault(pid, Memory(process_name(len(memories))))
            memory.seconds.append(seconds)
            memory.size.append(size)
        sizes = ', '.join(f'{each.size[-1]:.0f}' for each in (heap, *memories.values()))
        print(f'{seconds / 60:.1f} min, iteration {progress[1]:.0f}: {sizes} MiB', flush=True)
    if child.exitcode != 0:
        sys.exit(f'error: training ended with {child.exitcode}')
    main, *workers = memories.values()
    return [main, heap, *workers]


def process_name(number: int) -> str:
    """Two workers for training start after the main process, then two for validation."""
    if number == 0:
        return 'main process'
    return f'{"training" if number < 3 else "validation"} worker {(number - 1) % 2}'


def children_of(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]
    except OSError:
        return []


def anonymous(pid: int) -> float:
    """MiB that a process holds, without mapped files."""
    return _kib(pid, 'status', 'RssAnon') / 1024


def own(pid: int) -> float:
    """MiB that a process shares with no other."""
    parts = ('Private_Clean', 'Private_Dirty')
    return sum(_kib(pid, 'smaps_rollup', part) for part in parts) / 1024


def _kib(pid: int, file: str, key: str) -> int:
    for line in Path(f'/proc/{pid}/{file}').read_text().splitlines():
        if line.startswith(f'{key}:'):
            return int(line.split()[1])
    raise ValueError(f'/proc/{pid}/{file} has no {key}')


def page(memories: list[Memory], progress: Any) -> str:
    minutes, iterations, epochs = progress[0] / 60, int(progress[1]), int(progress[2])
    rows = []
    for each in memories:
        peaks = each.peaks()[1]
        third = len(peaks) // 3
        parts = (peaks[:1], peaks[third : third + 3], peaks[-3:])
        sizes = [f'{np.median(part):.0f}' for part in parts]
        slope, rise = each.growth()
        verdict = 'flat' if each.is_flat() else '**grows**'
        rows.append([each.name, *sizes, f'{slope:+.1f}', f'{rise:+.1f}', verdict])
    columns = ['process', 'first minute', 'one third', 'end', 'slope, MiB/h', 'rise, MiB', '']
    return (
        heading('Memory over a long run')
        + f'\n{minutes:.0f} minutes of training: {iterations} iterations of batch 2 in {epochs} '
        'epochs, each with a checkpoint and a validation. MiB: of the main process all but mapped '
        'files, and the heap in use after each step; of workers what they do not share with it. '
        'What the main process holds beyond its heap in use waits in the C library for tensors of '
        'other sizes, until `MallocTrimHook` returns it. Each minute counts with the most that was '
        'held in it. The slope is that of a line through the last two thirds, the rise what it '
        f'makes of them; flat is a rise of at most {TOLERATED_SHARE:.0%} or {TOLERATED_MIB:.0f} '
        'MiB.\n\n' + table(columns, rows) + '\n![memory over time](soak.png)\n'
    )


def plot(memories: list[Memory], path: Path) -> None:
    figure, axes = new_figure(8, 6, rows=2)
    for each in memories:
        axis = axes[0] if each.name.startswith('main') else axes[1]
        axis.plot(np.array(each.seconds) / 60, each.size, label=each.name, linewidth=1)
    for axis in axes:
        axis.set(ylabel='MiB', ylim=(0, None), xlim=(0, None))
        axis.legend(loc='lower right')
        axis.grid(alpha=0.3)
    axes[1].set_xlabel('training, minutes')
    figure.savefig(path, dpi=100)


def parse_args() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument('--minutes', type=float, default=30, help='of training (default: 30)')
    options.add_argument('--interval', type=float, default=5, help='seconds between two samples')
    options.add_argument('--out-dir', type=Path, default=RESULTS, help='folder of the page')
    args = options.parse_args()
    if not args.minutes >= SHORTEST or not args.interval > 0:
        options.error(
            f'--minutes must be {SHORTEST} or more, as a slope needs some minutes of each process, '
            'and --interval above 0'
        )
    return args


def main() -> None:
    args = parse_args()
    from _soak_training import train, write_data

    spawn = multiprocessing.get_context('spawn')  # nothing of this process is in the other
    progress = spawn.Array('d', 4)  # seconds, iterations, epochs, heap in use
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder))
        child = spawn.Process(target=train, args=(Path(folder), progress, args.minutes * 60))
        child.start()
        memories = watch(child, progress, args.interval)
    write_page('soak', page(memories, progress), args.out_dir)
    plot(memories, args.out_dir / 'soak.png')
    sys.exit(not all(each.is_flat() for each in memories))


if __name__ == '__main__':
    main()
