"""Ctrl-C ends a training after the current step, with a checkpoint."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from mmengine.dist import is_distributed
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdetr.checkpoint.io import atomic_write
from mmdetr.registry import HOOKS


@HOOKS.register_module()
class InterruptHook(Hook):
    """Write a checkpoint that resuming goes on from, and end with KeyboardInterrupt.

    The step that Ctrl-C comes in is completed first, or weights and optimiser would not belong
    together; a second Ctrl-C does not wait for it. Nothing is done in a distributed training, whose
    ranks would have to agree, and where Python delivers no signals: outside the main thread.

    Attributes:
        checkpoint: The file that was written; None before.
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.checkpoint: Path | None = None
        self._asked = False
        self._previous: Any = None

    def before_train(self, runner: Runner) -> None:
        if threading.current_thread() is threading.main_thread() and not is_distributed():
            self._previous = signal.signal(signal.SIGINT, self._ask)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if not self._asked:
            return
        name = f'interrupted_iter_{runner.iter + 1}.pth'
        runner.save_checkpoint(runner.work_dir, name, by_epoch=False)
        self.checkpoint = Path(runner.work_dir) / name
        with atomic_write(Path(runner.work_dir) / 'last_checkpoint') as file:
            file.write(str(self.checkpoint).encode())
        runner.logger.warning(f'interrupted: {self.checkpoint} is what resuming goes on from')
        raise KeyboardInterrupt

    def after_train(self, runner: Runner) -> None:
        self.restore()

    def restore(self) -> None:
        """Give Ctrl-C the meaning back that it had before the training."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
