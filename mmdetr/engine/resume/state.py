"""What a checkpoint of a running training holds besides weights."""

import json
import warnings
from collections.abc import Mapping
from logging import Logger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import OptimWrapper, ReduceOnPlateauParamScheduler, _ParamScheduler
from torch import Tensor, nn

from mmdetr.checkpoint.io import atomic_write

_HISTORY_FILE = 'validation_history.json'


def plain(value: Any) -> Any:
    """The value in types that torch loads with ``weights_only=True``.

    Raises:
        TypeError: There is no plain form of it.
    """
    if isinstance(value, np.generic):  # first, since numpy's float64 is a float, too
        return value.item()
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biuf':
        return value.tolist()
    if isinstance(value, HistoryBuffer):
        log, count = (torch.from_numpy(np.array(part)) for part in value.data)
        return dict(log=log, count=count, max_length=value.max_length)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return type(value)(plain(item) for item in value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f'{type(value).__name__} has no plain form')


def plain_message_hub(message_hub: MessageHub, logger: Logger) -> dict:
    """State of a message hub; what has no plain form is left out with a warning."""
    state: dict[str, dict] = {}
    for part, items in message_hub.state_dict().items():
        state[part] = {}
        for key, value in items.items():
            try:
                state[part][key] = plain(value)
            except TypeError as error:
                logger.warning(f'{key} is not saved in the checkpoint: {error}')
    return state


def restore_message_hub(message_hub: MessageHub, state: dict) -> None:
    """Load what :func:`plain_message_hub` or mmengine saved."""
    scalars = {
        key: HistoryBuffer(value['log'].numpy(), value['count'].numpy(), value['max_length'])
        if isinstance(value, dict)
        else value
        for key, value in state['log_scalars'].items()
    }
    message_hub.load_state_dict({**state, 'log_scalars': scalars})


def pending_gradients(model: nn.Module, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
    """Gradients that wait for the rest of their accumulation, by parameter name."""
    accumulated = optim_wrapper._inner_count % optim_wrapper._accumulative_counts
    if accumulated == 0 or optim_wrapper._inner_count == optim_wrapper._max_counts:
        return {}
    return {
        name: parameter.grad.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def resume_param_scheduler_state(scheduler: _ParamScheduler, state: dict) -> None:
    """Load a schedule's state; its end is that of the config, so that a run can be extended.

    A schedule without an explicit end gets the length of the run, and leaves out the step that
    falls on it. In a longer run that step is due.
    """
    left_out = state['_global_step'] == state['end'] < scheduler.end
    left_out &= not isinstance(scheduler, ReduceOnPlateauParamScheduler)  # steps on a metric only
    state = {**state, 'end': scheduler.end, '_global_step': state['_global_step'] - left_out}
    scheduler.load_state_dict(state)
    if left_out:
        with warnings.catch_warnings():  # no step of the optimiser has come before, in this process
            warnings.simplefilter('ignore')
            scheduler.step()


class ValidationHistory:
    """Which validations a run has completed, kept beside its checkpoints.

    The checkpoint of an epoch is written before its validation. Kept here, the outcome needs no
    second write of the whole checkpoint, and a resumed run knows whether to validate first.

    Args:
        entries: One dict per validation: ``epoch``, ``iter``, ``metrics`` and ``best``, the message
            hub's ``best_*`` entries after it.
    """

    def __init__(self, entries: list[dict] | None = None) -> None:
        self.entries = entries or []

    @classmethod
    def read(cls, folder: str | Path, until_iter: int) -> 'ValidationHistory':
        """What the file in ``folder`` holds up to an iteration; nothing if it is unreadable."""
        try:
            entries = json.loads((Path(folder) / _HISTORY_FILE).read_text())
        except (OSError, ValueError):
            return cls()
        return cls([entry for entry in entries if entry['iter'] <= until_iter])

    def has(self, iteration: int) -> bool:
        return any(entry['iter'] == iteration for entry in self.entries)

    def add(self, epoch: int, iteration: int, metrics: dict, best: dict) -> None:
        self.entries = [entry for entry in self.entries if entry['iter'] < iteration]
        numbers = {
            k: float(v) for k, v in metrics.items() if isinstance(v, int | float | np.number)
        }
        entry = dict(epoch=epoch, iter=iteration, metrics=numbers, best=plain(best))
        self.entries.append(entry)

    def write(self, folder: str | Path) -> None:
        with atomic_write(Path(folder) / _HISTORY_FILE) as file:
            file.write(json.dumps(self.entries, indent=1).encode())
