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
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from _common import DEMO, heading, parser, positive, table, write_page

WARMUP = 10
GUARD = ['before_train_iter', 'after_train_iter', '_before_step']


def parse_args() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument(
        '--iterations', type=positive, default=40, help='that are timed (default: 40)'
    )
    return options.parse_args()


def watched_parts() -> dict[str, tuple[type, list[str]]]:
    """Methods whose time is added up, by the name of the part."""
    from mmdetr.engine.hooks import CollapseWatchHook, NonFiniteGuardHook
    from mmdetr.models.losses import SetCriterion

    return {
        'collapse watch, `CollapseWatchHook`': (CollapseWatchHook, ['after_train_iter']),
        'guard, `NonFiniteGuardHook`': (NonFiniteGuardHook, GUARD),
        'logged values, `SetCriterion._logged`': (SetCriterion, ['_logged']),
    }


class Clock:
    """Time of each step, and of the parts of it."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.parts: list[dict[str, float]] = [defaultdict(float)]
        self._start: float | None = None

    def start_step(self) -> None:
        now = time.perf_counter()
        if self._start is not None:
            self.steps.append(now - self._start)
            self.parts.append(defaultdict(float))
        self._start = now

    def timed(self, part: str, method: Any) -> Any:
        """The method, which then adds its time to a part."""

        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                self.parts[-1][part] += time.perf_counter() - start

        return call


def measure(clip: bool, iterations: int) -> Clock:
    """Steps of the demo after the warm-up."""
    from mmengine.config import Config
    from mmengine.hooks import Hook

    from mmdetr.engine import DetectionRunner

    clock = Clock()

    class StepHook(Hook):
        priority = 'VERY_HIGH'

        def before_train_iter(self, *args: Any, **kwargs: Any) -> None:
            clock.start_step()

    cfg = Config.fromfile(DEMO)
    cfg.train_dataloader.dataset.num_images = 32 * (WARMUP + iterations + 1)
    cfg.train_cfg.max_epochs = 1
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint = None
    cfg.log_level = 'WARNING'
    cfg.experiment_name = cfg.visualizer.name = f'clip_{clip}'
    if not clip:
        cfg.optim_wrapper.clip_grad = None
    with ExitStack() as stack:
        for part, (owner, methods) in watched_parts().items():
            for name in methods:
                wrapped = clock.timed(part, getattr(owner, name))
                stack.enter_context(patch.object(owner, name, wrapped))
        cfg.work_dir = stack.enter_context(tempfile.TemporaryDirectory())
        runner = DetectionRunner.from_cfg(cfg)
        runner.register_hook(StepHook())
        runner.train()
    return clock


def rows(clock: Clock, setting: str) -> list[list[str]]:
    step = statistics.median(clock.steps[WARMUP:])
    result = [[setting, 'the whole step', f'{1000 * step:.1f}', '100']]
    for part in watched_parts():
        own = statistics.median(each[part] for each in clock.parts[WARMUP : len(clock.steps)])
        result.append([setting, part, f'{1000 * own:.3f}', f'{100 * own / step:.3f}'])
    return result


def main() -> None:
    args = parse_args()
    lines = rows(measure(True, args.iterations), 'clipping')
    lines += rows(measure(False, args.iterations), 'no clipping')
    write_page(
        'hook_cost',
        heading('What watching a training step costs')
        + f'\nThe demo, batch 32; medians over {args.iterations} steps after {WARMUP} others.\n\n'
        + table(['gradients', 'part', 'ms', '% of the step'], lines)
        + '\nOf the seven logged values the watch needs five; the other two are the usual errors. '
        'On a GPU it was not measured.\n',
    )


if __name__ == '__main__':
    main()
