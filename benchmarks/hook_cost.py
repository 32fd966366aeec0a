"""Measures how much of a training step goes into watching it.

    python benchmarks/hook_cost.py

Trains the demo and adds up the time inside the collapse watch and the guard against non-finite
numbers, and inside the part of the criterion that computes what is logged. The guard is timed with
the demo's gradient clipping, whose norm it reads, and without, where it computes the norm itself.

Writes benchmarks/results/hook_cost.md.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from _common import RESULTS
from _page import heading, table
from mmengine.config import Config
from mmengine.hooks import Hook

from mmdetr.engine import DetectionRunner
from mmdetr.engine.hooks import CollapseWatchHook, NonFiniteGuardHook
from mmdetr.models.losses import SetCriterion

ROOT = Path(__file__).parents[1]
WARMUP = 10
PARTS = {
    'collapse watch, `CollapseWatchHook`': (CollapseWatchHook, ['after_train_iter']),
    'guard, `NonFiniteGuardHook`': (
        NonFiniteGuardHook,
        ['before_train_iter', 'after_train_iter', '_before_step'],
    ),
    'logged values, `SetCriterion._logged`': (SetCriterion, ['_logged']),
}


class Clock(Hook):
    """Time of each step, and of the parts of it."""

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.parts: dict[str, float] = defaultdict(float)
        self.steps: list[float] = []
        self.by_step: dict[str, list[float]] = defaultdict(list)
        self._start: float | None = None

    def before_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        now = time.perf_counter()
        if self._start is not None:
            self.steps.append(now - self._start)
            for name in PARTS:
                self.by_step[name].append(self.parts[name])
        self._start = now
        self.parts.clear()

    def wrap(self, name: str, owner: type, method: str) -> None:
        """Let a method of a class add its time to a part."""
        original = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                self.parts[name] += time.perf_counter() - start

        setattr(owner, method, timed)


def measure(clip: bool, iterations: int) -> Clock:
    """Steps of the demo after the warm-up."""
    originals = [(o, m, o.__dict__[m]) for o, methods in PARTS.values() for m in methods]
    clock = Clock()
    for name, (owner, methods) in PARTS.items():
        for method in methods:
            clock.wrap(name, owner, method)
    cfg = Config.fromfile(ROOT / 'configs/detr_tiny_1xb32-12e_shapes.py')
    cfg.train_dataloader.dataset.num_images = 32 * (WARMUP + iterations + 1)
    cfg.train_cfg.max_epochs = 1
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint = None
    cfg.log_level = 'WARNING'
    cfg.experiment_name = cfg.visualizer.name = f'clip_{clip}'
    if not clip:
        cfg.optim_wrapper.clip_grad = None
    try:
        with tempfile.TemporaryDirectory() as folder:
            cfg.work_dir = folder
            runner = DetectionRunner.from_cfg(cfg)
            runner.register_hook(clock)
            runner.train()
    finally:
        for owner, method, original in originals:
            setattr(owner, method, original)
    return clock


def rows(clock: Clock, setting: str) -> list[list[str]]:
    step = statistics.median(clock.steps[WARMUP:])
    result = [[setting, 'the whole step', f'{1000 * step:.1f}', '100']]
    for name in PARTS:
        own = statistics.median(clock.by_step[name][WARMUP:])
        result.append([setting, name, f'{1000 * own:.3f}', f'{100 * own / step:.3f}'])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--iterations', type=int, default=40, help='that are timed (default: 40)')
    args = parser.parse_args()
    lines = rows(measure(True, args.iterations), 'clipping')
    lines += rows(measure(False, args.iterations), 'no clipping')
    text = (
        heading('What watching a training step costs')
        + f'\nThe demo, batch 32, {torch.get_num_threads()} threads; medians over '
        f'{args.iterations} steps after {WARMUP} others.\n\n'
        + table(['gradients', 'part', 'ms', '% of the step'], lines)
        + '\nOf the seven logged values the watch needs five; the other two are the usual errors. '
        'On a GPU it was not measured.\n'
    )
    print(text)
    (RESULTS / 'hook_cost.md').write_text(text)


if __name__ == '__main__':
    main()
