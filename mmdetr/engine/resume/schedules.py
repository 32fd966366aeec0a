"""Learning rate schedules of a resumed run, brought to where it is."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from mmengine.optim import ReduceOnPlateauParamScheduler
from mmengine.optim.scheduler.param_scheduler import (
    CosineAnnealingParamScheduler,
    CosineRestartParamScheduler,
    OneCycleParamScheduler,
)

from mmdetr.checkpoint import CheckpointError

from .optimizer import LOAD_FROM, group_settings, take_up_settings
from .state import restore_param_schedulers

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
        kinds.setdefault(repr(sorted(group_settings(group).items())), len(kinds))
        for group in groups
    ]
    first = [kind_of.index(kind) for kind in range(len(kinds))]
    stand_in = _Groups([group_settings(groups[index]) for index in first])
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
