"""Stop or skip training steps with a NaN or infinite loss or gradient, and keep the evidence."""

import contextlib
import functools
import logging
import math
from pathlib import Path
from typing import Any, NoReturn

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from mmdetr.checkpoint import save_file
from mmdetr.registry import HOOKS

from ..resume.state import to_plain_data

FOLDER = 'non_finite'
MAX_SNAPSHOTS = 3
MAX_IN_SUCCESSION = 20


@HOOKS.register_module()
class NonFiniteGuardHook(Hook):
    """Keep non-finite gradients out of the weights; stop the run or go on without the step.

    The message names iteration, image ids and losses, and the batch is kept in
    ``non_finite/iter_<iteration>_rank<rank>.pth`` of the work directory (the first three), to be
    read with :func:`mmdetr.checkpoint.load_file`. Gradients too large for float16 under a loss
    scale above 1 are the loss scaler's business and do not count.

    Gradients are judged by the norm that clipping computes; without clipping by the norm there is
    one more synchronisation per step. When the model's own predictions are not finite the
    criterion ends the run with a FloatingPointError whatever the action, and the batch is kept as
    well.

    Args:
        action: ``'stop'`` ends the run with an error; ``'skip'`` drops the gradients, those
            accumulated for the same step included, warns and counts. 20 in succession end the run.

    Raises:
        FloatingPointError: A loss or gradient is not finite and the action is ``'stop'``.
    """

    def __init__(self, action: str = 'stop') -> None:
        if action not in ('stop', 'skip'):
            raise ValueError(f"NonFiniteGuardHook: action must be 'stop' or 'skip', not {action!r}")
        self.action = action
        self.num_skipped = 0
        self._in_succession = 0
        self._num_kept = 0
        self._data_batch: Any = None
        self._optim_wrapper: Any = None
        self._installed = contextlib.ExitStack()  # takes down what before_train has put up
        self._step_reached = False
        self._gradient_is_finite = True

    def state_dict(self) -> dict[str, int]:
        """What a resumed run goes on counting from."""
        return dict(
            num_skipped=self.num_skipped, in_succession=self._in_succession, num_kept=self._num_kept
        )

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.num_skipped = int(state['num_skipped'])
        self._in_succession = int(state['in_succession'])
        self._num_kept = int(state['num_kept'])

    def before_train(self, runner: Runner) -> None:
        """Look at gradients from within the optimiser, and at errors from within the step."""
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper) or isinstance(wrapper, OptimWrapperDict):
            raise TypeError(
                'NonFiniteGuardHook guards one optimiser, not a '
                f'{type(wrapper).__name__}: default_hooks=dict(non_finite_guard=None)'
            )
        self._installed.close()  # that of a training which ended with an error
        self._optim_wrapper = wrapper
        handle = wrapper.optimizer.register_step_pre_hook(self._before_step)
        self._installed.callback(handle.remove)
        self._guard_step(runner)

    def _guard_step(self, runner: Runner) -> None:
        """Keep the batch when the criterion finds non-finite predictions.

        No hook is called when a step fails, so the step itself is wrapped, as mmengine does for
        torch.compile.
        """
        model: Any = runner.model
        step, compiled = model.train_step, vars(model).get('train_step')

        @functools.wraps(step)
        def guarded_step(*args: Any, **kwargs: Any) -> Any:
            try:
                return step(*args, **kwargs)
            except FloatingPointError as error:
                path = self._keep_batch(runner, {})
                if path:
                    runner.logger.error(
                        f'iteration {runner.iter + 1}: {error}; the batch is kept in {path}'
                    )
                raise

        model.train_step = guarded_step
        if compiled is None:
            self._installed.callback(delattr, model, 'train_step')
        else:
            self._installed.callback(setattr, model, 'train_step', compiled)

    def after_train(self, runner: Runner) -> None:
        self._installed.close()
        self._data_batch = None
        if self.num_skipped:
            runner.logger.warning(f'{self.num_skipped} non-finite iterations were skipped')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self._data_batch = data_batch
        self._step_reached = False
        self._gradient_is_finite = True

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Judge the iteration."""
        values = {name: value for name, value in (outputs or {}).items() if 'loss' in name}
        losses = {name: float(to_plain_data(value)) for name, value in values.items()}
        loss_is_finite = all(map(math.isfinite, losses.values()))
        if loss_is_finite and not self._gradient_failed():
            self._in_succession = 0
            return
        message = self._describe(runner, losses, loss_is_finite)
        path = self._keep_batch(runner, outputs)
        kept = f'; the batch is kept in {path}' if path else ''
        self._in_succession += 1
        if self.action == 'stop' or self._in_succession >= MAX_IN_SUCCESSION:
            self._stop(message + kept)
        self.num_skipped += 1
        # Gradients that wait for the rest of their accumulation are spoilt as well.
        self._optim_wrapper.zero_grad()
        # mmengine's loggers show errors of every rank, and each has images of its own.
        runner.logger.log(logging.ERROR, f'{message}: skipped, {self.num_skipped} so far{kept}')

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._step_reached = True
        scaler_found_inf = getattr(optimizer, 'found_inf', None)
        norm = self._clipped_norm()
        if norm is None and scaler_found_inf is not None:
            norm = math.inf if bool(scaler_found_inf) else 0.0
        elif norm is None:
            parameters = [p for group in optimizer.param_groups for p in group['params']]
            norm = float(clip_grad_norm_(parameters, math.inf))
        self._gradient_is_finite = math.isfinite(norm)
        if not self._gradient_is_finite and scaler_found_inf is None:
            # An optimiser without gradients changes nothing, its own state included.
            optimizer.zero_grad()

    def _clipped_norm(self) -> float | None:
        """Return the norm that clipping has just computed and copied, if it did."""
        wrapper = self._optim_wrapper
        if not wrapper.clip_grad_kwargs or wrapper.clip_func is not clip_grad_norm_:
            return None
        buffer = wrapper.message_hub.log_scalars.get(f'train/{wrapper.grad_name}')
        return None if buffer is None else float(buffer.current())

    def _gradient_failed(self) -> bool:
        wrapper = self._optim_wrapper
        if not wrapper.should_update():
            return False
        # A loss scaler leaves out the optimiser's step where it finds infinities.
        if self._gradient_is_finite and self._step_reached:
            return False
        scaler = getattr(wrapper, 'loss_scaler', None)
        return scaler is None or scaler.get_scale() <= 1

    def _describe(self, runner: Runner, losses: dict[str, float], loss_is_finite: bool) -> str:
        where = f'iteration {runner.iter + 1} (epoch {runner.epoch + 1})'
        what = 'gradient' if loss_is_finite else 'loss'
        shown = ', '.join(f'{name}={value:.4g}' for name, value in losses.items())
        ids = [
            sample.metainfo.get('img_id')
            for sample in _data_samples(self._data_batch)
            if isinstance(sample, BaseDataElement)
        ]
        return f'non-finite {what} in {where} with the images of id {ids}: {shown}'

    def _keep_batch(self, runner: Runner, outputs: Any) -> Path | None:
        if self._num_kept >= MAX_SNAPSHOTS:
            return None
        name = f'iter_{runner.iter + 1}_rank{runner.rank}.pth'
        path = Path(runner.work_dir) / FOLDER / name
        content = dict(
            iter=runner.iter,
            epoch=runner.epoch,
            seed=runner.seed,
            outputs=_snapshot(outputs),
            data_batch=_snapshot(self._data_batch),
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(content, path)
        except OSError as error:  # the numbers that go wrong are the news, not the disk
            runner.logger.error(f'the batch is not kept: {error}')
            return None
        self._num_kept += 1
        return path

    def _stop(self, message: str) -> NoReturn:
        often = f' ({self._in_succession} in succession)' if self._in_succession > 1 else ''
        raise FloatingPointError(
            f'{message}{often}. Look for a learning rate too high for the batch and bad boxes in '
            "these images; default_hooks=dict(non_finite_guard=dict(action='skip')) goes on "
            'without such steps'
        )


def _data_samples(data_batch: Any) -> list:
    return data_batch.get('data_samples', []) if isinstance(data_batch, dict) else []


def _snapshot(value: Any) -> Any:
    """Convert a batch to types that load with ``weights_only=True``."""
    if isinstance(value, BaseDataElement):
        return {key: _snapshot(item) for key, item in value.all_items()}
    if isinstance(value, dict):
        return {key: _snapshot(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_snapshot(item) for item in value]
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    try:
        return to_plain_data(value)
    except TypeError:
        return repr(value)
