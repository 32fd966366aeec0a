"""A run on the console: what it is, how far it is, and the numbers of each validation."""

import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmdetr.utils.console import Console, duration

from ..console_handler import ConsoleHandler
from ..run_summary import scoring_summary, training_summary
from ..score_lines import by_class, has_columns, head, main_metric, rows, score, short_name

SMOOTHED = 50  # iterations
HEAD_EVERY = 20  # validations
LOOKS = 'looks the data over, then waits for the first batch'


class ConsoleHook(Hook):
    """Write header, progress bar and table to the console; the log is LoggerHook's.

    Beside the bar are the loss, the best AP so far, the time that is left with its validations,
    images per second over all ranks, and the learning rate.

    Args:
        console: Where to write.
        handler: Where warnings and errors are counted.
    """

    # Before the checks of data in before_train, after the losses are noted.
    priority = 'VERY_HIGH'

    def __init__(self, console: Console, handler: ConsoleHandler) -> None:
        self.console = console
        self.handler = handler
        self._training = False
        self._began = self._resting_since = time.monotonic()
        self._durations: deque[float] = deque(maxlen=SMOOTHED)
        self._images: deque[int] = deque(maxlen=SMOOTHED)
        self._first_step = True
        self._validation_seconds = 0.0
        self._validation_began = 0.0
        self._validations = 0
        self._best: tuple[str, float] | None = None

    # Before it begins

    def before_run(self, runner: Runner) -> None:
        """Say what takes long next: reading and initialising weights."""
        self._began = time.monotonic()
        loads = runner.cfg.get('load_from') or runner.cfg.get('resume')
        self.console.say(f'{"loads" if loads else "initialises"} the weights', 'dim')

    def before_train(self, runner: Runner) -> None:
        """Write the header."""
        self._training = True
        if not self.console.quiet:
            self.console.say_pairs(training_summary(runner))
        best = runner.message_hub.get_info('best_score', None)
        if best is not None:  # of a resumed run
            self._best = short_name(_wanted(runner) or ''), float(best)
        self.console.say(LOOKS, 'dim')

    def before_val(self, runner: Runner) -> None:
        """Write the header of a validation alone."""
        if not self._training and not self.console.quiet:
            self.console.say_pairs(scoring_summary(runner, runner.val_dataloader))
            self.console.say(LOOKS, 'dim')

    def before_test(self, runner: Runner) -> None:
        """Write the header of a test."""
        if not self.console.quiet:
            self.console.say_pairs(scoring_summary(runner, runner.test_dataloader))
            self.console.say(LOOKS, 'dim')

    # Training

    def before_train_epoch(self, runner: Runner) -> None:
        self._resting_since = time.monotonic()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Move the bar."""
        now = time.monotonic()
        seconds, self._resting_since = now - self._resting_since, now
        if self._first_step:  # it waits for workers, and says nothing of the pace
            self._first_step = False
            self.console.say(f'first step after {seconds:.1f} s: {_describe(data_batch)}', 'dim')
        else:
            self._durations.append(seconds)
            self._images.append(_num_images(data_batch) * runner.world_size)
        if self.console.quiet:
            return
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            label = f'epoch {runner.epoch + 1}/{runner.max_epochs}'
            done, total = batch_idx + 1, len(runner.train_dataloader)
        else:
            label, done, total = 'training', runner.iter + 1, runner.max_iters
        self.console.progress(label, done, total, partial(self._figures, runner))

    def _figures(self, runner: Runner) -> list[str]:
        figures = []
        hub = runner.message_hub
        if 'train/loss' in hub.log_scalars:
            figures.append(f'loss {hub.get_scalar("train/loss").mean(SMOOTHED):<5.4g}')
        if self._best is not None:
            figures.append(f'{self._best[0]} {score(self._best[1])}')
        elif runner.val_loop is not None:
            figures.append('AP -')
        if self._durations:
            pace = sum(self._durations) / len(self._durations)
            left = (runner.max_iters - runner.iter - 1) * pace + self._left_of_validations(runner)
            figures.append(f'ETA {duration(left)}')
            figures.append(f'{sum(self._images) / sum(self._durations):<4.3g} img/s')
        if 'train/lr' in hub.log_scalars:
            figures.append(f'lr {hub.get_scalar("train/lr").current():.2g}')
        return figures

    def _left_of_validations(self, runner: Runner) -> float:
        if runner.val_loop is None:
            return 0.0
        loop: Any = runner.train_loop
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        left = runner.max_epochs - runner.epoch if by_epoch else runner.max_iters - runner.iter
        return -(-left // loop.val_interval) * self._validation_seconds

    def after_train(self, runner: Runner) -> None:
        """Say what came of it, and where it is."""
        self.console.end_progress()
        text = f'trained in {duration(time.monotonic() - self._began)}'
        if self._best is not None:
            text += f'; best {self._best[0]} {score(self._best[1])}'
        path = runner.message_hub.get_info('best_ckpt', None) or runner.message_hub.get_info(
            'last_ckpt', None
        )
        self.console.result(f'{text}: {path or runner.work_dir}', 'bold')
        self._training = False

    # Validation and test

    def before_val_epoch(self, runner: Runner) -> None:
        self._validation_began = time.monotonic()

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Move the bar."""
        self._score_step('validation', batch_idx, len(runner.val_dataloader), runner, data_batch)

    def before_test_epoch(self, runner: Runner) -> None:
        self._validation_began = time.monotonic()

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Move the bar."""
        self._score_step('test', batch_idx, len(runner.test_dataloader), runner, data_batch)

    def _score_step(
        self, label: str, batch_idx: int, total: int, runner: Runner, data_batch: Any
    ) -> None:
        if self.console.quiet:
            return
        done = batch_idx + 1
        per_batch = _num_images(data_batch) * runner.world_size

        def figures() -> list[str]:
            seconds = max(time.monotonic() - self._validation_began, 1e-9)
            left = (total - done) * seconds / done
            return [f'ETA {duration(left)}', f'{done * per_batch / seconds:.3g} img/s']

        self.console.progress(label, done, total, figures)
        if done == total and self.console.is_terminal:
            self.console.progress(f'{label}: scores the results', done, total, force=True)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write a row of the table."""
        now = time.monotonic()
        self._validation_seconds = now - self._validation_began
        metrics = metrics or {}
        name = main_metric(metrics, _wanted(runner))
        first, labels = [duration(self._validation_seconds)], ['time']
        mark = ''
        if self._training:
            labels = ['epoch', 'loss', *labels]
            first = [*_progress(runner), *first]
            mark = self._note_best(runner, name, metrics)
        self.console.end_progress()
        if has_columns(metrics) and self._validations % HEAD_EVERY == 0:
            self.console.say(head(labels), 'bold')
        self._validations += 1
        write = self.console.say if self._training else self.console.result
        for number, line in enumerate(rows(metrics, first)):
            write(line + mark * (number == 0))

    def _note_best(self, runner: Runner, name: str | None, metrics: dict[str, float]) -> str:
        """Take note of a new best value; return the mark of its row."""
        if name is None or (name == _wanted(runner) and _rule(runner) == 'less'):
            return ''
        value = float(metrics[name])
        if self._best is not None and not value > self._best[1]:
            return ''
        self._best = short_name(name), value
        return ' *'

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write all numbers."""
        metrics = metrics or {}
        self.console.end_progress()
        seconds = duration(time.monotonic() - self._validation_began)
        if has_columns(metrics):
            self.console.result(head(['time']), 'bold')
        for line in [*rows(metrics, [seconds]), *by_class(metrics)]:
            self.console.result(line)

    def after_run(self, runner: Runner) -> None:
        """Say what was counted instead of repeated."""
        for line in self.handler.repeats():
            self.console.say(line, 'yellow')


def _wanted(runner: Runner) -> str | None:
    """The number that the checkpoint hook keeps the best of."""
    hook: Any = next((each for each in runner.hooks if hasattr(each, 'save_best')), None)
    wanted = getattr(hook, 'save_best', None)
    return wanted[0] if isinstance(wanted, list) else wanted


def _rule(runner: Runner) -> str | None:
    hook: Any = next((each for each in runner.hooks if hasattr(each, 'save_best')), None)
    return (getattr(hook, 'rules', None) or [None])[0]


def _progress(runner: Runner) -> list[str]:
    """Epoch or iteration, and the loss."""
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    scalars = runner.message_hub.log_scalars
    loss = f'{scalars["train/loss"].mean(SMOOTHED):.4g}' if 'train/loss' in scalars else '-'
    return [str(runner.epoch if by_epoch else runner.iter), loss]


def _inputs(data_batch: Any) -> Sequence[Any]:
    return data_batch.get('inputs', ()) if isinstance(data_batch, dict) else ()


def _num_images(data_batch: Any) -> int:
    return len(_inputs(data_batch)) or 1


def _describe(data_batch: Any) -> str:
    shapes = [tuple(each.shape) for each in _inputs(data_batch) if hasattr(each, 'shape')]
    text = f'{_num_images(data_batch)} images'
    if shapes and all(len(shape) == 3 for shape in shapes):
        height, width = (max(shape[axis] for shape in shapes) for axis in (1, 2))
        text += f' up to {width} x {height} pixels'
    return text
