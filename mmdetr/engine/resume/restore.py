"""Put a training back to where its checkpoint was written."""

import re
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.optim import ReduceOnPlateauParamScheduler
from mmengine.runner import load_state_dict
from torch import nn

from mmdetr.checkpoint import CheckpointError
from mmdetr.checkpoint.class_rows import clean_names, same_classes
from mmdetr.utils.model import unwrap
from mmdetr.utils.text import shorten

from ..data_sampling import SkippingBatchSampler
from .history import ValidationHistory
from .state import restore_gradients, restore_message_hub, restore_param_schedulers

if TYPE_CHECKING:
    from ..runner import DetectionRunner


def restore_training(
    runner: 'DetectionRunner',
    filename: str,
    checkpoint: dict,
    resume_optimizer: bool,
    resume_param_scheduler: bool,
) -> None:
    """Restore everything but the weights: position, seed, log, optimiser, schedules, validations.

    Args:
        runner: Holds the weights of the checkpoint already.
        filename: Where the checkpoint was read; validations are on record beside it.
        checkpoint: Its content.
        resume_optimizer: Whether to restore the optimiser's state.
        resume_param_scheduler: Whether to restore the learning rate schedule's state.

    Raises:
        CheckpointError: The checkpoint has another number of learning rate schedules.
    """
    _restore_position(runner, filename, checkpoint['meta'])
    _restore_seed(runner, checkpoint['meta'])
    _compare_classes(runner, filename, checkpoint['meta'])
    restore_message_hub(runner.message_hub, checkpoint['message_hub'])
    if resume_optimizer:
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.optim_wrapper.load_state_dict(checkpoint['optimizer'])
        restore_gradients(unwrap(runner.model), checkpoint.get('gradients', {}))
    if resume_param_scheduler and runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
        restore_param_schedulers(runner.param_schedulers, checkpoint.get('param_schedulers', []))
    _restore_validations(runner, Path(filename).parent)


def _restore_position(runner: 'DetectionRunner', filename: str, meta: dict) -> None:
    loop: Any = runner.train_loop
    # mmengine has no other way to set them, for its own resuming neither.
    loop._epoch, loop._iter = meta['epoch'], meta['iter']
    length, previous = len(loop.dataloader), meta.get('batches_per_epoch')
    done = meta.get('batches_done', 0)
    if previous is not None and previous != length:
        done = round(done * length / previous)
        runner.logger.warning(
            f'An epoch has {length} iterations, {previous} when {filename} was written: the '
            'resumed run is not the one that was interrupted'
        )
    loop.batches_done = done


def _restore_seed(runner: 'DetectionRunner', meta: dict) -> None:
    seed = meta.get('seed')
    if seed is None or seed == runner.shared_seed:
        return
    if runner.randomness.get('seed') is not None:
        runner.logger.warning(
            f'The checkpoint has seed {seed}, the config {runner.seed}; {seed} is used'
        )
    runner.set_randomness(**{**runner.randomness, 'seed': seed})
    batch_sampler = runner.train_dataloader.batch_sampler
    if isinstance(batch_sampler, SkippingBatchSampler):
        batch_sampler.sampler.set_seed(runner.shared_seed)


def _compare_classes(runner: 'DetectionRunner', filename: str, meta: dict) -> None:
    metainfo = getattr(runner.train_dataloader.dataset, 'metainfo', None) or {}
    classes, saved = metainfo.get('classes'), (meta.get('dataset_meta') or {}).get('classes')
    names, others = clean_names(classes), clean_names(saved)
    if names and others and not same_classes(names, others):
        raise CheckpointError(
            f'{filename} cannot be resumed: it was trained on the classes '
            f'{shorten(map(str, others))}, the data have {shorten(map(str, names))}. Resuming '
            'needs the same in the same order; load_from starts a new training and takes the '
            'class rows by name'
        )


def _restore_validations(runner: 'DetectionRunner', folder: Path) -> None:
    """Find out whether the validation after the checkpoint was completed, and what it gave."""
    history = ValidationHistory(runner.message_hub)
    history.read(folder, runner.iter)
    if history.has(runner.iter):
        runner.message_hub.update_info_dict(history.entries[-1]['best'])
    # The file does not hold what such a schedule made of the metric.
    follows_metric = any(
        isinstance(schedule, ReduceOnPlateauParamScheduler)
        for schedule in runner.param_schedulers or []
    )
    loop: Any = runner.train_loop
    loop.validation_missed = follows_metric or not history.has(runner.iter)


def load_weights(
    model: nn.Module, checkpoint: dict, strict: bool, revise_keys: list[tuple[str, str]]
) -> None:
    """Rename the weights of a checkpoint and load them; a mismatch is logged unless ``strict``."""
    weights: Any = OrderedDict()
    for name, value in checkpoint['state_dict'].items():
        for pattern, replacement in revise_keys:
            name = re.sub(pattern, replacement, name)
        weights[name] = value
    weights._metadata = getattr(checkpoint['state_dict'], '_metadata', OrderedDict())
    load_state_dict(model, weights, strict)
    checkpoint['state_dict'] = weights
