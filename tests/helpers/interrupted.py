"""Toy runs that are broken off and resumed."""

from pathlib import Path
from typing import Any

import pytest
from mmengine.hooks import Hook

from mmdetr.engine import DetectionRunner
from tests.helpers.toy import toy_config


class InterruptedRunError(Exception):
    pass


class Interrupt(Hook):
    """Raises at one moment of a run."""

    def __init__(self, stage: str, iteration: int) -> None:
        self.iteration = iteration
        setattr(self, stage, self._strike)

    def _strike(self, runner: Any, **_: Any) -> None:
        if runner.iter == self.iteration:
            raise InterruptedRunError


def train(work_dir: Path, interrupt: Interrupt | None = None, **changes: Any) -> DetectionRunner:
    runner = DetectionRunner.from_cfg(toy_config(work_dir, **changes))
    if interrupt is None:
        runner.train()
    else:
        runner.register_hook(interrupt)
        with pytest.raises(InterruptedRunError):
            runner.train()
    if changes.get('train_dataloader__persistent_workers'):
        runner.train_dataloader._iterator._shutdown_workers()  # left to __del__, it takes seconds
    return runner


def resume(work_dir: Path, **changes: Any) -> tuple[DetectionRunner, list[str]]:
    """Resume a run; return what it says of it as well."""
    runner = train(work_dir, resume='auto', **changes)
    log = next(work_dir.glob(f'{runner.timestamp}/*.log')).read_text()
    return runner, [
        line.partition('Resuming: ')[2] for line in log.splitlines() if 'Resuming: ' in line
    ]
