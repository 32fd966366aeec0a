"""What hooks remember of a run, in its checkpoints and back."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmengine.hooks import EarlyStoppingHook, EMAHook

from mmdetr.checkpoint import CheckpointError

from .history import ValidationHistory
from .state import to_plain_data

if TYPE_CHECKING:
    from ..runner import DetectionRunner


def hook_states(runner: 'DetectionRunner') -> dict[str, Any]:
    """Collect the states of the hooks that have a ``state_dict``, by name."""
    return {
        name: to_plain_data(hook.state_dict())
        for name, hook in _named_hooks(runner)
        if hasattr(hook, 'state_dict') and hasattr(hook, 'load_state_dict')
    }


def _named_hooks(runner: 'DetectionRunner') -> list[tuple[str, Any]]:
    """Hooks by class name, with a number from the second of a class on."""
    named: list[tuple[str, Any]] = []
    counts: Counter[str] = Counter()
    for hook in runner.hooks:
        name = type(hook).__name__
        counts[name] += 1
        named.append((name if counts[name] == 1 else f'{name}_{counts[name]}', hook))
    return named


def restore_hooks(runner: 'DetectionRunner', states: Any) -> None:
    """Give hooks what :func:`hook_states` saved, and early stopping the validations so far.

    Early stopping knows only what it has seen, so it sees them again.
    """
    if not isinstance(states, Mapping):
        raise CheckpointError('the checkpoint has hook states that are no dict')
    loop: Any = runner.train_loop
    hooks = _named_hooks(runner)
    for name in states.keys() - dict(hooks).keys():
        runner.logger.warning(f'Resuming: {name} of the checkpoint is no hook of this run')
    for name, hook in hooks:
        if isinstance(hook, EarlyStoppingHook):
            for entry in ValidationHistory(runner.message_hub).entries:
                comes_again = entry['iter'] == runner.iter and loop.validation_missed
                if hook.monitor in entry['metrics'] and not comes_again:
                    hook.after_val_epoch(runner, entry['metrics'])
        state = states.get(name)
        if state is not None and hasattr(hook, 'load_state_dict'):
            hook.load_state_dict(state)
        elif state is not None:
            runner.logger.warning(f'Resuming: {name} begins anew')


def without_average(runner: 'DetectionRunner', checkpoint: dict) -> dict:
    """Take the trained weights where the checkpoint's are an average that nobody goes on with.

    mmengine's EMAHook saves the average as ``state_dict`` and the trained weights beside it.

    Returns:
        The checkpoint, with the weights that the optimiser's state belongs to.
    """
    average = checkpoint.get('ema_state_dict')
    if not isinstance(average, Mapping) or any(isinstance(h, EMAHook) for h in runner.hooks):
        return checkpoint
    prefix = 'module.'
    trained = {k[len(prefix) :]: v for k, v in average.items() if k.startswith(prefix)}
    runner.logger.warning(
        'Resuming: the checkpoint has averaged weights, the config no EMAHook: the run goes on '
        'with the trained weights, without an average'
    )
    rest = {key: value for key, value in checkpoint.items() if key != 'ema_state_dict'}
    return {**rest, 'state_dict': {**checkpoint['state_dict'], **trained}}
