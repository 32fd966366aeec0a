"""Optimiser of a resumed run: its state is the checkpoint's, its settings are the config's."""

import copy
from typing import Any

from mmdetr.checkpoint import CheckpointError

LOAD_FROM = 'To start a new training from its weights, set load_from instead of resuming'


def restore_optimizer(wrapper: Any, state: dict, saved_type: Any, filename: str) -> bool:
    """Load an optimiser's state and, for the time being, the checkpoint's settings.

    Args:
        wrapper: The optimiser in its wrapper, as built for the run, with its schedules.
        state: What the checkpoint has of it.
        saved_type: Its type by the checkpoint's config, if that is known.
        filename: The checkpoint, for the message.

    Returns:
        Whether the settings are other than those that the config gives.

    Raises:
        CheckpointError: The state is that of another optimiser or of other parameters.
    """
    wanted = settings_of(wrapper)
    _check_fits(wrapper, state, saved_type, filename)
    wrapper.load_state_dict(dict(state))  # takes entries out of the dict
    return any(map(_differs, wanted, settings_of(wrapper)))


def take_up_settings(wrapper: Any, wanted: list[dict]) -> None:
    """Give all groups of an optimiser the settings of :func:`settings_of`."""
    for group, settings in zip(wrapper.param_groups, wanted, strict=True):
        group.update(copy.deepcopy(settings))


def settings_of(wrapper: Any) -> list[dict]:
    """Copy the settings of all groups of an optimiser: learning rate, weight decay and so on."""
    return [copy.deepcopy(group_settings(group)) for group in wrapper.param_groups]


def group_settings(group: dict) -> dict:
    """What an optimiser is told about a group of parameters."""
    return {key: value for key, value in group.items() if key != 'params'}


def _differs(wanted: dict, saved: dict) -> bool:
    """Whether two groups differ in more than what their schedules have moved."""
    moved = {key[len('initial_') :] for key in {**wanted, **saved} if key.startswith('initial_')}
    if 'momentum' in moved:
        moved.add('betas')  # Adam's, which a schedule of the momentum moves
    for key in wanted.keys() & saved.keys() - moved:
        first, second = wanted[key], saved[key]
        pair = [list(v) if isinstance(v, tuple) else v for v in (first, second)]
        if pair[0] != pair[1]:
            return True
    return False


def _check_fits(wrapper: Any, state: dict, saved_type: Any, filename: str) -> None:
    optimizer = wrapper.optimizer
    name, groups = type(optimizer).__name__, state.get('param_groups')
    if isinstance(saved_type, str) and saved_type.rpartition('.')[2] != name:
        raise CheckpointError(
            f'optim_wrapper.optimizer.type: {filename} has the state of {saved_type}, which {name} '
            f'cannot go on with. {LOAD_FROM}'
        )
    present = [len(group['params']) for group in optimizer.param_groups]
    saved = [len(group['params']) for group in groups] if isinstance(groups, list) else []
    if present != saved:
        raise CheckpointError(
            f'{filename} has the optimiser state of {sum(saved)} parameters in {len(saved)} '
            f'groups, the config gives {sum(present)} in {len(present)}: other parts of the model '
            f'are frozen, or paramwise_cfg or the model is another. {LOAD_FROM}'
        )
