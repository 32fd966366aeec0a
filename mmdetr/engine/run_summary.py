"""What a run is, in ten lines: data, model, batch and what is unusual about it."""

import os
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.hooks import EMAHook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn

from mmdetr.config.training_check import classes_of, find_key, find_num_queries
from mmdetr.utils.model import unwrap
from mmdetr.utils.text import shorten
from mmdetr.version import __version__

Pairs = list[tuple[str, str]]


def training_summary(runner: Runner) -> Pairs:
    """Label and value of each line above a training.

    Args:
        runner: One whose loops are built and whose weights are loaded.
    """
    unusual = list(unusual_of_training(runner))
    return [
        ('run', _machine(runner)),
        ('config', _config(runner)),
        ('train', describe_data(runner.train_dataloader)),
        ('val', _validation(runner)),
        ('model', describe_model(runner)),
        ('batch', _batch(runner)),
        ('schedule', _schedule(runner)),
        ('weights', _weights(runner)),
        ('unusual', '; '.join(unusual) or 'nothing'),
        ('log', _log(runner)),
    ]


def scoring_summary(runner: Runner, dataloader: Any) -> Pairs:
    """Label and value of each line above a validation or test alone."""
    return [
        ('run', _machine(runner)),
        ('config', _config(runner)),
        ('data', describe_data(dataloader)),
        ('model', describe_model(runner)),
        ('weights', _weights(runner)),
        ('log', _log(runner)),
    ]


def describe_data(dataloader: Any, known: tuple[str, ...] = ()) -> str:
    """Images, batches and classes of a data loader, unless the classes are ``known``."""
    dataset = dataloader.dataset
    text = f'{len(dataset)} images'
    if batch_size := _batch_size(dataloader):
        text += f' in {len(dataloader)} batches of {batch_size}'
    classes = classes_of(dataset)
    if classes and classes != known:
        text += f'; {len(classes)} classes: {shorten(classes)}'
    return text


def describe_model(runner: Runner) -> str:
    """Class of the model and of its parts, queries and parameters."""
    model: nn.Module = unwrap(runner.model)
    cfg = runner.cfg.get('model')
    parts = [cfg.get(name) for name in ('backbone', 'neck', 'bbox_head')] if cfg else []
    names = [_component(part) for part in parts if part]
    text = f'{type(model).__name__} of {", ".join(names)}' if names else type(model).__name__
    queries = find_num_queries(runner.cfg)
    if queries is not None:
        text += f'; {queries} queries'
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    total, trained = sum(n for n, _ in sizes), sum(n for n, is_trained in sizes if is_trained)
    text += f'; {_millions(total)} parameters'
    return text if trained == total else f'{text}, {_millions(trained)} of them trained'


def unusual_of_training(runner: Runner) -> Iterator[str]:
    """What somebody who knows the config's base would not expect."""
    cfg = runner.cfg
    if runner.iter:
        yield f'resumed after {runner.epoch} epochs and {runner.iter} iterations'
    if runner.val_loop is None:
        yield 'no validation'
    if (auto := cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
        effective = _effective_batch(runner)
        if effective != auto['base_batch_size'] and not auto.get('enable'):
            yield (
                f'the learning rate is for {auto["base_batch_size"]} images per step, these are '
                f'{effective} (--auto-scale-lr)'
            )
    if 'Amp' in type(runner.optim_wrapper).__name__:
        yield 'mixed precision'
    if any(isinstance(hook, EMAHook) for hook in runner.hooks):
        yield 'averaged weights (EMA)'
    randomness = cfg.get('randomness') or {}
    if randomness.get('seed') is None:
        yield f'drawn seed {runner.seed}'
    if randomness.get('deterministic'):
        yield 'deterministic, which is slower'
    if cfg.get('find_unused_parameters'):
        yield 'unused parameters allowed'
    sampler = (cfg.get('train_dataloader') or {}).get('sampler') or {}
    if sampler.get('shuffle', True) is False:
        yield 'training data are not shuffled'
    if cfg.get('allow_mismatch'):
        yield 'checkpoint and config may differ (allow_mismatch)'


def _component(cfg: Any) -> str:
    """What a config calls a part, and which of its kind."""
    kind = cfg.get('type')
    which = next((str(cfg[key]) for key in ('depth', 'name', 'model_name') if key in cfg), '')
    return f'{getattr(kind, "__name__", kind)} {which}'.rstrip()


def _machine(runner: Runner) -> str:
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        device = f'CPU, {torch.get_num_threads()} threads'
    processes = f'{runner.world_size} x ' if runner.world_size > 1 else ''
    return f'mmdetr {__version__}, torch {torch.__version__}, {processes}{device}'


def _config(runner: Runner) -> str:
    return _short_path(runner.cfg.filename) if runner.cfg.filename else 'none, built in Python'


def _validation(runner: Runner) -> str:
    if runner.val_loop is None:
        return 'none'
    loop: Any = runner.train_loop
    unit = 'epoch' if _by_epoch(runner) else 'iteration'
    often = f'every {unit}' if loop.val_interval == 1 else f'every {loop.val_interval} {unit}s'
    known = classes_of(runner.train_dataloader.dataset)
    return f'{describe_data(runner.val_dataloader, known)}; {often}'


def _batch(runner: Runner) -> str:
    batch = _batch_size(runner.train_dataloader)
    accumulated = _accumulated(runner)
    text = f'{batch} images'
    if runner.world_size > 1:
        text += f' x {runner.world_size} processes'
    if accumulated > 1:
        text += f' x {accumulated} accumulated'
    optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
    if optimizer is None:
        return text
    rates = sorted(
        {group['initial_lr' if 'initial_lr' in group else 'lr'] for group in optimizer.param_groups}
    )
    return f'{text}; {type(optimizer).__name__}, learning rate {shorten([f"{r:g}" for r in rates])}'


def _schedule(runner: Runner) -> str:
    steps = f'{runner.max_iters} iterations'
    text = f'{runner.max_epochs} epochs = {steps}' if _by_epoch(runner) else steps
    schedulers = runner.param_schedulers
    if isinstance(schedulers, list) and schedulers:
        text += f'; {shorten([type(each).__name__ for each in schedulers])}'
    return text


def _weights(runner: Any) -> str:
    where = runner.cfg.get('load_from')
    if getattr(runner, 'has_loaded', False):
        return str(where or 'resumed from the newest checkpoint of the work directory')
    pretrained = [str(value) for _, value in find_key(runner.cfg.get('model'), 'checkpoint')]
    # timm fetches weights of its own, or takes a file.
    pretrained += [
        'of timm' if value is True else str(value)
        for _, value in find_key(runner.cfg.get('model'), 'pretrained')
        if value
    ]
    if pretrained:
        return f'random but for {shorten(pretrained)}'
    return 'random: training from scratch' if runner.cfg.get('train_cfg') else 'random'


def _log(runner: Runner) -> str:
    return _short_path(getattr(runner.logger, 'log_file', None) or runner.work_dir)


def _short_path(path: str) -> str:
    """A path from the current folder on, where it is below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith(os.pardir) else relative


def _by_epoch(runner: Runner) -> bool:
    return isinstance(runner.train_loop, EpochBasedTrainLoop)


def _batch_size(dataloader: Any) -> int | None:
    sampler = getattr(dataloader, 'batch_sampler', None)
    return getattr(sampler, 'batch_size', None) or getattr(dataloader, 'batch_size', None)


def _accumulated(runner: Runner) -> int:
    return (runner.cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)


def _effective_batch(runner: Runner) -> int:
    return (_batch_size(runner.train_dataloader) or 1) * runner.world_size * _accumulated(runner)


def _millions(count: int) -> str:
    return f'{count / 1e6:.1f} M' if count >= 1e5 else str(count)
