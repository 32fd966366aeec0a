"""What a checkpoint of a running training holds besides weights."""

import warnings
from collections.abc import Mapping
from logging import Logger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce, is_distributed
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import OptimWrapper, ReduceOnPlateauParamScheduler
from torch import Tensor, nn

from mmdetr.checkpoint import CheckpointError


def to_plain_data(value: Any) -> Any:
    """Convert a value to types that torch loads with ``weights_only=True``.

    Raises:
        TypeError: No such type can hold it.
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
        return {to_plain_data(key): to_plain_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return type(value)(to_plain_data(item) for item in value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f'{type(value).__name__} is no plain data')


def plain_message_hub(message_hub: MessageHub, logger: Logger) -> dict:
    """Return the state of a message hub; what is no plain data is left out with a warning."""
    state: dict[str, dict] = {}
    for part, items in message_hub.state_dict().items():
        state[part] = {}
        for key, value in items.items():
            try:
                state[part][key] = to_plain_data(value)
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
    """Return the gradients that wait for the rest of their accumulation, by parameter name.

    They are averaged over the ranks: until the step every rank has its own. Call it on all ranks.
    """
    if optim_wrapper.should_update():
        return {}
    gradients = {
        name: parameter.grad.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    if is_distributed():
        for gradient in gradients.values():
            all_reduce(gradient, op='mean')
    return gradients


def restore_gradients(model: nn.Module, gradients: dict[str, Tensor]) -> None:
    """Give the parameters the gradients that :func:`pending_gradients` saved."""
    parameters = dict(model.named_parameters())
    for name, gradient in gradients.items():
        parameters[name].grad = gradient.to(parameters[name].device)


def restore_param_schedulers(schedulers: list, states: list[dict]) -> None:
    """Load the states of all learning rate schedules.

    Raises:
        CheckpointError: There are more or fewer states than schedules.
    """
    if len(states) != len(schedulers):
        raise CheckpointError(
            f'the checkpoint has {len(states)} learning rate schedules, the config has '
            f'{len(schedulers)}: resume with the param_scheduler it was written with'
        )
    for scheduler, state in zip(schedulers, states, strict=True):
        _restore_param_scheduler(scheduler, state)


def _restore_param_scheduler(scheduler: Any, state: dict) -> None:
    """Load a schedule's state; its end is that of the config, so that a run can be extended.

    A schedule whose end defaults to the run's length skips its last step; if the run is extended,
    that step is made up.
    """
    left_out = state['_global_step'] == state['end'] < scheduler.end
    left_out &= not isinstance(scheduler, ReduceOnPlateauParamScheduler)  # steps on a metric only
    state = {**state, 'end': scheduler.end, '_global_step': state['_global_step'] - left_out}
    scheduler.load_state_dict(state)
    if left_out:
        with warnings.catch_warnings():  # no step of the optimiser has come before, in this process
            warnings.simplefilter('ignore')
            scheduler.step()
