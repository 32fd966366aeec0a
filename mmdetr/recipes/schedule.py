"""How long a training is: epochs by the number of images, and schedules stretched to them."""

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from .errors import RecipeError

LEAST_EPOCHS, MOST_EPOCHS = 12, 150
VALIDATIONS = 8
WARM_UP_SHARE = 0.1


def accumulated_batches(cfg: Mapping) -> int:
    """Return how many batches make the one that the learning rate of a config is for."""
    batch = cfg['train_dataloader'].get('batch_size') or 1
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size') or batch
    stated = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    return max(int(stated), round(base / batch))


def epochs_for(steps: int, num_images: int, batch: int) -> int:
    """Return the epochs in which so many images give so many optimiser steps, within limits.

    Args:
        steps: Wanted.
        num_images: To train on.
        batch: Images of a step, accumulated ones included.
    """
    epochs = round(steps * batch / num_images)
    return min(max(epochs, LEAST_EPOCHS), MOST_EPOCHS)


def schedule_changes(cfg: Mapping, epochs: int, num_images: int) -> dict[str, Any]:
    """Return the settings that depend on the number of epochs, for a config of other length.

    Args:
        cfg: The base, which trains by epochs.
        epochs: Of the new training.
        num_images: To train on.

    Raises:
        RecipeError: The base does not train by epochs.
    """
    old = (cfg.get('train_cfg') or {}).get('max_epochs')
    if not old:
        raise RecipeError(
            'the config trains by iterations: --model takes one that trains by epochs'
        )
    batch = cfg['train_dataloader'].get('batch_size') or 1
    iterations = epochs * math.ceil(num_images / batch)
    changes: dict[str, Any] = dict(
        train_cfg=dict(max_epochs=epochs, val_interval=max(1, round(epochs / VALIDATIONS)))
    )
    schedulers = cfg.get('param_scheduler')
    if isinstance(schedulers, list | tuple):
        changes['param_scheduler'] = [
            _stretch(dict(each), epochs / old, iterations) for each in schedulers
        ]
    hooks = deepcopy(list(cfg.get('custom_hooks') or []))
    for hook in hooks:
        if 'switch_epoch' in hook:
            # The last epochs without augmentation stay as many, but one has it at least.
            hook['switch_epoch'] = max(1, epochs - (old - hook['switch_epoch']))
    if any('switch_epoch' in hook for hook in hooks):
        changes['custom_hooks'] = [_plain(hook) for hook in hooks]
    return changes


def _stretch(scheduler: dict[str, Any], factor: float, iterations: int) -> dict[str, Any]:
    scheduler = _plain(scheduler)
    if not scheduler.get('by_epoch', True):  # a warm-up
        if 'end' in scheduler:
            scheduler['end'] = max(1, min(scheduler['end'], int(WARM_UP_SHARE * iterations)))
        return scheduler
    begin = round(scheduler.get('begin', 0) * factor)
    for key in ('end', 'T_max', 'step_size'):
        if key in scheduler:
            scheduler[key] = max(1, round(scheduler[key] * factor))
    if 'begin' in scheduler:
        scheduler['begin'] = min(begin, scheduler.get('end', begin + 1) - 1)
    if 'milestones' in scheduler:
        stretched = {max(1, round(each * factor)) for each in scheduler['milestones']}
        scheduler['milestones'] = sorted(stretched)
    return scheduler


def _plain(value: Any) -> Any:
    """Turn mmengine's dicts into those of Python."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
