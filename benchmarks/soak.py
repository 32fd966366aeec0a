"""Trains for a while and watches the memory of every process: it should stay flat.

    python benchmarks/soak.py --minutes 30

A small DETR is trained on generated JPEG files by COCO's pipeline, all its sizes divided by four,
with two workers. The annotation file lists as many images as COCO does (the files repeat), so
that workers have a list to copy if reading it makes them. Each epoch of 300 iterations ends with a
checkpoint and a validation. Needs Linux, whose /proc tells what a process does not share.

Writes benchmarks/results/soak.md and soak.png; ends with 1 where memory grows.
"""

import argparse
import ctypes
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from _common import RESULTS
from _generated import write_coco
from _page import heading, table
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS

from mmdetr.engine import DetectionRunner

ROOT = Path(__file__).parents[1]
LISTED_IMAGES = 118_000
IMAGES_PER_EPOCH = 600
IMAGE_SIZES = ((480, 640), (640, 480), (427, 640), (375, 500), (500, 333))  # h, w
# Growth that is called flat, of what a process holds by itself: within the noise of an allocator
# that sees another image size every time.
TOLERATED_SHARE = 0.02
TOLERATED_MIB = 8.0
SHORTEST = 5  # minutes; the workers for validation start after the first epoch


@DATA_SAMPLERS.register_module()
class ShortEpochSampler(DefaultSampler):
    """Some images of a large set, others in every epoch."""

    def __len__(self) -> int:
        return IMAGES_PER_EPOCH

    def __iter__(self) -> Iterator[int]:
        return islice(super().__iter__(), IMAGES_PER_EPOCH)


class ProgressHook(Hook):
    """Tells the watching process how long training has gone on, and ends it in time.

    Time in which the machine did something else does not count.
    """

    def __init__(self, progress: Any, seconds: float) -> None:
        self.progress = progress
        self.seconds = seconds

    def before_train(self, runner: Any) -> None:
        self._last = time.monotonic()

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            sys.exit('error: the watching process is gone')
        now = time.monotonic()
        self.progress[0] += min(now - self._last, 20)
        self.progress[1] = runner.iter + 1
        self.progress[3] = heap_in_use()
        self._last = now

    def after_train_epoch(self, runner: Any) -> None:
        self.progress[2] += 1
        runner.train_loop.stop_training = self.progress[0] >= self.seconds


class MallocInfo(ctypes.Structure):
    """struct mallinfo2 of <malloc.h>."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *('arena', 'ordblks', 'smblks', 'hblks', 'hblkhd'),
            *('usmblks', 'fsmblks', 'uordblks', 'fordblks', 'keepcost'),
        )
    ]


def heap_in_use() -> float:
    """MiB that this process has allocated from the C library and not given back to it."""
    function = ctypes.CDLL('libc.so.6').mallinfo2
    function.restype = MallocInfo
    info = function()
    return (info.uordblks + info.hblkhd) / 2**20


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


def write_data(folder: Path) -> None:
    """40 JPEG files of each size for training, listed again and again, and 20 for validation."""
    common = dict(num_objects=(2, 12), extension='jpg')
    write_coco(folder, 'train', IMAGE_SIZES, 40, listed_images=LISTED_IMAGES, **common)
    write_coco(folder, 'val', IMAGE_SIZES, 20, seed=1, **common)


def config(folder: Path) -> Config:
    """The COCO config at a quarter of its image size, with the demo's model."""
    cfg = Config.fromfile(ROOT / 'configs/detr_r50_8xb2-150e_coco.py')
    demo = Config.fromfile(ROOT / 'configs/detr_tiny_1xb32-12e_shapes.py')
    shrink(cfg.train_dataloader.dataset.pipeline)
    shrink(cfg.val_dataloader.dataset.pipeline)
    for name in ('train', 'val'):
        data = dict(data_root=f'{folder}/', ann_file=f'{name}.json', data_prefix=dict(img=''))
        cfg[f'{name}_dataloader'].dataset.update(data)
    cfg.train_dataloader.sampler.type = 'ShortEpochSampler'
    cfg.val_evaluator.ann_file = f'{folder}/val.json'
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    cfg.model = demo.model
    cfg.model.bbox_head.num_queries = 50
    cfg.optim_wrapper = demo.optim_wrapper
    cfg.optim_wrapper.optimizer.lr = 1e-4
    cfg.param_scheduler = None
    cfg.train_cfg.max_epochs = 10**6  # the hook ends it
    cfg.log_level = 'WARNING'
    cfg.work_dir = f'{folder}/run'
    return cfg


def shrink(steps: Any) -> None:
    """Divide all sizes in a pipeline by four."""
    for step in steps:
        if isinstance(step, list):
            shrink(step)
            continue
        shrink(step.get('transforms', []))
        for key in ('scale', 'scales', 'min_size', 'max_size'):
            if key in step:
                step[key] = quarter(step[key])


def quarter(size: Any) -> Any:
    if isinstance(size, list):
        return [quarter(each) for each in size]
    if isinstance(size, tuple):
        return tuple(each and each // 4 for each in size)
    return size // 4


def train(folder: Path, progress: Any, seconds: float) -> None:
    runner = DetectionRunner.from_cfg(config(folder))
    runner.register_hook(ProgressHook(progress, seconds))
    runner.train()


def watch(child: Any, progress: Any, interval: float) -> list[Memory]:
    """Samples the child and its workers until the child ends."""
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
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 1, figsize=(8, 6), sharex=True, layout='constrained')
    for each in memories:
        axis = axes[0] if each.name.startswith('main') else axes[1]
        axis.plot(np.array(each.seconds) / 60, each.size, label=each.name, linewidth=1)
    for axis in axes:
        axis.set(ylabel='MiB', ylim=(0, None))
        axis.legend(loc='lower right')
        axis.grid(alpha=0.3)
    axes[1].set_xlabel('training, minutes')
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--minutes', type=float, default=30, help='of training (default: 30)')
    parser.add_argument('--interval', type=float, default=5, help='seconds between two samples')
    parser.add_argument('--out-dir', type=Path, default=RESULTS, help='folder of the page')
    args = parser.parse_args()
    if args.minutes < SHORTEST:
        parser.error(
            f'--minutes must be {SHORTEST} or more: a slope needs some minutes of each process'
        )
    spawn = multiprocessing.get_context('spawn')  # nothing of this process is in the other
    progress = spawn.Array('d', 4)  # seconds, iterations, epochs, heap in use
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder))
        child = spawn.Process(target=train, args=(Path(folder), progress, args.minutes * 60))
        child.start()
        memories = watch(child, progress, args.interval)
    text = page(memories, progress)
    print(text)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    (args.out_dir / 'soak.md').write_text(text)
    plot(memories, args.out_dir / 'soak.png')
    sys.exit(not all(each.is_flat() for each in memories))


if __name__ == '__main__':
    main()
