"""Optimiser and learning rate schedules of a resumed run: the state is the checkpoint's, the
settings are the config's.
"""

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

from mmengine.optim import ReduceOnPlateauParamScheduler
from mmengine.optim.scheduler.param_scheduler import (
    CosineAnnealingParamScheduler,
    CosineRestartParamScheduler,
    OneCycleParamScheduler,
)

from mmdetr.checkpoint import CheckpointError

from .state import restore_param_schedulers

LOAD_FROM = 'To start a new training from its weights, set load_from instead of resuming'
# What a schedule has moved itself, or what the optimiser's groups say as well.
_MOVING = {'_global_step', 'last_step', '_last_value', 'verbose', 'base_values', 'optimizer'}


class Position(NamedTuple):
    """How far a run is: ``batches`` of an epoch of ``length`` are done beyond ``epoch``."""

    epoch: int
    iteration: int
    batches: int
    length: int
    max_epochs: int
    max_iters: int


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
    return [copy.deepcopy(_settings(group)) for group in wrapper.param_groups]


def _settings(group: dict) -> dict:
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


def restore_schedules(
    runner: Any, states: list[dict], wanted: list[dict], changed: bool, at: Position
) -> str | None:
    """Bring the learning rate schedules to where the run is.

    Those of a run whose settings are the checkpoint's get its state. Others are those of the
    config from here on: they are followed from the first step, as if the run had always had them.

    Args:
        runner: Has the schedules, fresh, and the optimiser with its state.
        states: The schedules' states in the checkpoint.
        wanted: What :func:`settings_of` says of the fresh optimiser.
        changed: Whether the optimiser's settings are other than the checkpoint's.
        at: Where the run is.

    Returns:
        What there is to tell of it.

    Raises:
        CheckpointError: The schedules follow what cannot be repeated, or end before the run does.
    """
    schedules = runner.param_schedulers or []
    same = len(states) == len(schedules) and not any(map(_is_other, schedules, states))
    if same and not changed:
        restore_param_schedulers(schedules, states)
        return None
    if any(isinstance(each, ReduceOnPlateauParamScheduler) for each in schedules):
        if changed or len(states) != len(schedules) or any(map(_is_other_kind, schedules, states)):
            raise CheckpointError(
                'ReduceOnPlateauLR follows the metrics of the run, which cannot be repeated with '
                'other settings of optimizer or param_scheduler: resume with those of the '
                f'checkpoint. {LOAD_FROM}'
            )
        restore_param_schedulers(schedules, states)
        return None
    converted = _converted(runner, len(schedules))
    for index, schedule in enumerate(schedules):
        _check_reaches_end(schedule, f'param_scheduler.{index}', at)
    wrapper = runner.optim_wrapper
    take_up_settings(wrapper, wanted)
    _follow(schedules, wrapper.param_groups, at, converted)
    rate = wrapper.param_groups[-1]['lr']
    return f'The learning rate goes on at {rate:.4g}, as optimizer and param_scheduler now say'


def _fixed(state: dict) -> dict:
    fixed = {k: v for k, v in state.items() if k not in _MOVING and not callable(v)}
    return {k: dict(v) if isinstance(v, dict) else v for k, v in fixed.items()}


def _is_other(schedule: Any, state: dict) -> bool:
    if isinstance(schedule, ReduceOnPlateauParamScheduler):
        return _is_other_kind(schedule, state) or schedule.end != state['end']
    present, saved = _fixed(vars(schedule)), _fixed(state)
    return present.keys() != saved.keys() or any(present[k] != saved[k] for k in present)


_PLATEAU_ARGUMENTS = (
    'rule', 'factor', 'patience', 'threshold', 'threshold_rule', 'cooldown', 'min_value', 'eps',
    'monitor', 'begin', 'by_epoch',
)  # fmt: skip


def _is_other_kind(schedule: Any, state: dict) -> bool:
    """Whether more than the end of a schedule is another, where a metric may lead it."""
    if isinstance(schedule, ReduceOnPlateauParamScheduler):
        return any(
            vars(schedule).get(key) != state.get(key)
            for key in _PLATEAU_ARGUMENTS
            if key in vars(schedule) and key in state
        )
    present, saved = _fixed(vars(schedule)), _fixed(state)
    present.pop('end', None), saved.pop('end', None)
    return present != saved


def _check_reaches_end(schedule: Any, key: str, at: Position) -> None:
    """Refuse schedules that give no sensible value before the run is over."""
    total = at.max_epochs if schedule.by_epoch else at.max_iters
    unit = 'epochs' if schedule.by_epoch else f'iterations ({at.length} per epoch)'
    steps = min(schedule.end, total) - schedule.begin
    advice = f'state it for the new end, or give {key} an end where it is to stop'
    if isinstance(schedule, CosineAnnealingParamScheduler) and steps - 1 > schedule.T_max:
        raise CheckpointError(
            f'{key}: a cosine of T_max {schedule.T_max} climbs back from there until the run ends '
            f'after {total} {unit}: {advice}'
        )
    if isinstance(schedule, OneCycleParamScheduler):
        length = schedule.total_steps
    elif isinstance(schedule, CosineRestartParamScheduler):
        length = sum(schedule.periods)
    else:
        return
    if steps > length:
        raise CheckpointError(
            f'{key}: {type(schedule).__name__} is over after {length} {unit}, the run after '
            f'{total}: {advice}'
        )


def _converted(runner: Any, count: int) -> list[bool]:
    """Which schedules were stated in epochs and are followed by iterations."""
    entries = runner.cfg.get('param_scheduler') or []
    entries = entries if isinstance(entries, list | tuple) else [entries]
    if len(entries) != count:
        return [False] * count
    return [isinstance(e, dict) and bool(e.get('convert_to_iter_based')) for e in entries]


class _Groups:
    """Stands for an optimiser while schedules are followed: one group for each kind."""

    _global_step = 0

    def __init__(self, groups: list[dict]) -> None:
        self.param_groups = groups

    def step(self) -> None: ...

    step._with_counter = True  # type: ignore[attr-defined]  # schedules ask for it


def _follow(schedules: list, groups: list[dict], at: Position, converted: list[bool]) -> None:
    """Step fresh schedules to where the run is.

    DETR's optimiser has hundreds of groups of few kinds, and a run has a million steps.
    """
    kinds: dict[str, int] = {}
    kind_of = [
        kinds.setdefault(repr(sorted(_settings(group).items())), len(kinds)) for group in groups
    ]
    first = [kind_of.index(kind) for kind in range(len(kinds))]
    stand_in = _Groups([_settings(groups[index]) for index in first])
    kept = [(schedule.optimizer, getattr(schedule, 'base_values', None)) for schedule in schedules]
    for schedule, (_, values) in zip(schedules, kept, strict=True):
        schedule.optimizer = stand_in
        if values is not None:
            schedule.base_values = [values[index] for index in first]
    for schedule in _steps(schedules, at, converted):
        schedule.step()
    for group, kind in zip(groups, kind_of, strict=True):
        group.update(stand_in.param_groups[kind])
    for schedule, (optimizer, values) in zip(schedules, kept, strict=True):
        schedule.optimizer = optimizer
        if values is not None:
            schedule.base_values = values
        schedule._last_value = [group[schedule.param_name] for group in groups]


def _steps(schedules: list, at: Position, converted: list[bool]) -> Iterator[Any]:
    """The schedules in the order in which a run steps them."""
    by_epoch = [each for each in schedules if each.by_epoch]
    # An epoch may have had another length: what is stated in epochs counts them.
    now = at.epoch * at.length + at.batches if at.epoch else at.iteration
    counts = [
        (each, now if moved else at.iteration)
        for each, moved in zip(schedules, converted, strict=True)
        if not each.by_epoch
    ]
    done = 0
    for index in range(1, max([count for _, count in counts], default=0) + 1):
        yield from (each for each, count in counts if index <= count)
        if done < at.epoch and index % at.length == 0:
            done += 1
            yield from by_epoch
    for _ in range(done, at.epoch):
        yield from by_epoch
