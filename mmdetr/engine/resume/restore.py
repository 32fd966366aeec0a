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
from mmdetr.checkpoint.config_text import parse_config
from mmdetr.utils.model import unwrap
from mmdetr.utils.text import shorten

from ..data_sampling import SkippingBatchSampler
from .differences import changed_data_files, config_differences
from .history import ValidationHistory
from .hook_states import restore_hooks
from .optimizer import restore_optimizer, settings_of
from .schedules import Position, restore_schedules
from .state import restore_gradients, restore_message_hub

if TYPE_CHECKING:
    from ..runner import DetectionRunner

# Entries of mmengine's message hub that another run cannot bring.
_OF_THE_RUN = ('cfg', 'experiment_name', 'mmengine_version', 'max_epochs', 'max_iters')


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
        CheckpointError: The state of optimiser or schedules cannot be gone on with.
    """
    meta = checkpoint['meta']
    _restore_position(runner, filename, meta)
    _restore_seed(runner, meta)
    _compare_classes(runner, filename, meta)
    _restore_message_hub(runner, checkpoint['message_hub'])
    if resume_optimizer:
        _restore_optimizer(runner, filename, checkpoint, resume_param_scheduler)
        restore_gradients(unwrap(runner.model), checkpoint.get('gradients', {}))
    _restore_validations(runner, Path(filename).parent)
    restore_hooks(runner, checkpoint.get('hooks', {}))


def name_differences(runner: 'DetectionRunner', filename: str, meta: dict) -> None:
    """Say what of the config and of its data files is other than when a checkpoint was written."""
    lines = config_differences(meta.get('cfg'), runner.cfg)
    if lines is None:
        lines = [f'{filename} has no config that can be read: what differs from it is not named']
    lines += changed_data_files(meta.get('data_files'), runner.data_files)
    for line in lines:
        runner.logger.warning(f'Resuming: {line}')


def _restore_message_hub(runner: 'DetectionRunner', state: dict) -> None:
    """Take up the log; what describes the run stays this run's."""
    hub = runner.message_hub
    own = {key: hub.get_info(key) for key in _OF_THE_RUN if key in hub.runtime_info}
    restore_message_hub(hub, state)
    hub.update_info_dict(own)


def _restore_optimizer(
    runner: 'DetectionRunner', filename: str, checkpoint: dict, resume_param_scheduler: bool
) -> None:
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    wrapper, wanted = runner.optim_wrapper, settings_of(runner.optim_wrapper)
    saved = parse_config(checkpoint['meta'].get('cfg')) or {}
    try:
        saved_type = saved['optim_wrapper']['optimizer']['type']
    except (KeyError, TypeError):
        saved_type = None
    changed = restore_optimizer(wrapper, checkpoint['optimizer'], saved_type, filename)
    if not resume_param_scheduler:
        return
    meta, loop = checkpoint['meta'], runner.train_loop
    length = len(runner.train_dataloader)
    position = Position(
        meta['epoch'],
        meta['iter'],
        getattr(loop, 'batches_done', 0),
        length,
        loop.max_epochs,
        loop.max_iters,
    )
    states = checkpoint.get('param_schedulers') or []
    if told := restore_schedules(runner, states, wanted, changed, position):
        runner.logger.warning(f'Resuming: {told}')


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
        runner.cfg.randomness.seed = seed
    runner.set_randomness(**{**runner.randomness, 'seed': seed})
    batch_sampler = runner.train_dataloader.batch_sampler
    if isinstance(batch_sampler, SkippingBatchSampler):
        batch_sampler.sampler.set_seed(runner.shared_seed)


def _compare_classes(runner: 'DetectionRunner', filename: str, meta: dict) -> None:
    metainfo = getattr(runner.train_dataloader.dataset, 'metainfo', None) or {}
    classes, saved = metainfo.get('classes'), (meta.get('dataset_meta') or {}).get('classes')
    names, others = clean_names(classes), clean_names(saved)
    if names and others and not same_classes(names, others):
        trained, given = shorten(map(str, others)), shorten(map(str, names))
        raise CheckpointError(
            f'{filename} cannot be resumed: it was trained on the classes {trained}, the data have '
            f'{given}. Resuming needs the same in the same order; load_from starts a new training '
            'and takes the class rows by name'
        )


def _restore_validations(runner: 'DetectionRunner', folder: Path) -> None:
    """Find out whether the validation after the checkpoint was completed, and what it gave."""
    history = ValidationHistory(runner.message_hub)
    history.read(folder, runner.iter, runner.logger)
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
