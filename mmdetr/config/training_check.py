"""Checks of a config against its data: classes, images per step, amount of training."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from mmdetr.datasets.check import Finding, named_leaves
from mmdetr.utils.text import shorten

# What the authors answer users who train from scratch (facebookresearch/detr, issues 9, 22, 125).
SCRATCH_IMAGES = 10_000
SCRATCH_STEPS = 300_000
# These sample few points in place of attending to a whole map, and learn from a few hundred images
# where the backbone is trained already (docs/own_data.md). So do those with denoising queries.
_QUICK_HEADS = ('DeformableDETRHead', 'RTDETRHead', 'DFINEHead')


def classes_of(dataset: Any) -> tuple[str, ...]:
    """Return the class names that a dataset states, by label; none where it states none."""
    metainfo = getattr(dataset, 'metainfo', None) or {}
    return tuple(metainfo.get('classes') or ())


def check_num_classes(
    stated: Iterable[tuple[str, Any]], classes: Sequence[str], name: str
) -> list[Finding]:
    """Compare every ``num_classes`` of a model with the classes of a dataset.

    Args:
        stated: Dotted keys in the config and their values.
        classes: The dataset's; nothing is compared where they are not known.
        name: How messages call the dataset.
    """
    if not classes:
        return []
    return [
        Finding(
            'error',
            f'{key} is {value}, but {name} has {len(classes)} classes ({shorten(classes)}): '
            f'set {key}={len(classes)} or the metainfo.classes of the dataset',
        )
        for key, value in stated
        if value != len(classes)
    ]


def check_things(
    key: str, things: Collection[int], isthing: Sequence[bool], name: str
) -> list[Finding]:
    """Compare the classes that a model counts with those that a dataset counts.

    Args:
        key: Dotted key in the config.
        things: Labels of the model's things.
        isthing: Whether each class of the dataset is one.
        name: How messages call the dataset.
    """
    wanted = [label for label, each in enumerate(isthing) if each]
    wrong = sorted(set(wanted) ^ {label for label in things if label < len(isthing)})
    if not wrong:
        return []
    value = len(wanted) if wanted == list(range(len(wanted))) else wanted
    return [
        Finding(
            'error',
            f'{key} and {name} differ on which classes are things, for the labels '
            f'{shorten(wrong)}: set {key}={value}',
        )
    ]


def check_same_classes(
    train_classes: tuple[str, ...], classes: tuple[str, ...], train_name: str, name: str
) -> list[Finding]:
    """Compare the classes of training with those of evaluation, and their order, where known."""
    if not train_classes or not classes or train_classes == classes:
        return []
    return [
        Finding(
            'error',
            f'{train_name} and {name} differ in their classes or in the order of them: '
            f'{train_classes} and {classes}. Set metainfo=dict(classes=...) of both',
        )
    ]


def check_training(cfg: Mapping, dataset: Any, world_size: int) -> list[Finding]:
    """Check batch size and amount of a training on a built dataset."""
    findings = check_batch(cfg, world_size)
    leaves = named_leaves(dataset, '')
    # Generated images, which have no file, are easier.
    if leaves and 'img_path' in leaves[0][0].get_data_info(0):
        findings += check_amount(cfg, len(dataset), world_size)
    return findings


def check_batch(cfg: Mapping, world_size: int) -> list[Finding]:
    """State images per optimiser step and learning rate, beside what the config is made for."""
    batch = cfg['train_dataloader'].get('batch_size')
    if batch is None:
        return [Finding('error', 'train_dataloader has no batch_size')]
    accumulated = _accumulated(cfg)
    effective = batch * world_size * accumulated
    text = (
        f'batch: {batch} images x {world_size} processes x {accumulated} accumulated = {effective} '
        'per optimiser step'
    )
    # A constructor of one's own may know other keys, and torch has default rates.
    lr = ((cfg.get('optim_wrapper') or {}).get('optimizer') or {}).get('lr')
    if lr is None:
        return [Finding('info', text)]
    text += f', learning rate {lr:g}'
    if lr == 0:
        return [Finding('warning', f'{text}: nothing is learnt')]
    auto_scale_lr = cfg.get('auto_scale_lr') or {}
    base = auto_scale_lr.get('base_batch_size')
    if base is None:
        return [Finding('info', text)]
    scaled = lr * effective / base
    if auto_scale_lr.get('enable'):
        return [Finding('info', f'{text}, scaled to {scaled:g} (it is for {base} images)')]
    text += f', which is for {base} images; --auto-scale-lr would make it {scaled:g}'
    far = not 0.5 < effective / base < 2
    return [Finding('warning' if far else 'info', text)]


def check_amount(cfg: Mapping, num_images: int, world_size: int) -> list[Finding]:
    """Compare images and steps with what DETR needs without published weights."""
    if cfg.get('load_from') or cfg.get('resume') or _learns_quickly(cfg):
        return []
    steps = _num_steps(cfg, num_images, world_size)
    if num_images >= SCRATCH_IMAGES and (steps is None or steps >= SCRATCH_STEPS):
        return []
    duration = '' if steps is None else f' for {steps} steps'
    return [
        Finding(
            'warning',
            f'training from scratch on {num_images} images{duration}: DETR needs about '
            f'{SCRATCH_IMAGES} images and {SCRATCH_STEPS} steps for that. Set load_from to '
            'published weights, as configs/detr_r50_1xb4-30e_custom.py does',
        )
    ]


def _learns_quickly(cfg: Mapping) -> bool:
    """Successors start on a few hundred images from a trained backbone."""
    head = (cfg.get('model') or {}).get('bbox_head') or {}
    return bool(head.get('type') in _QUICK_HEADS or head.get('denoising')) and _has_backbone(cfg)


def find_key(cfg: Any, wanted: str, path: str = '') -> Iterator[tuple[str, Any]]:
    """Find a key at any depth of a config: dotted paths and values."""
    if isinstance(cfg, Mapping):
        for key, value in cfg.items():
            if key == wanted:
                yield f'{path}.{key}', value
            else:
                yield from find_key(value, wanted, f'{path}.{key}')
    elif isinstance(cfg, list | tuple):
        for index, value in enumerate(cfg):
            yield from find_key(value, wanted, f'{path}.{index}')


def find_num_queries(cfg: Mapping) -> int | None:
    """Return the number of queries of a config's model; None where it states none."""
    return next((number for _, number in find_key(cfg.get('model'), 'num_queries')), None)


def _has_backbone(cfg: Mapping) -> bool:
    """Whether the backbone of a config starts from weights."""
    backbone = (cfg.get('model') or {}).get('backbone') or {}
    return bool(backbone.get('pretrained') or backbone.get('init_cfg'))


def _accumulated(cfg: Mapping) -> int:
    return (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)


def _num_steps(cfg: Mapping, num_images: int, world_size: int) -> int | None:
    """Return the number of optimiser steps; None where a loop of one's own counts otherwise."""
    train_cfg = cfg.get('train_cfg') or {}
    iterations, epochs = train_cfg.get('max_iters'), train_cfg.get('max_epochs')
    batch = cfg['train_dataloader'].get('batch_size')
    if iterations is None and epochs is not None and batch is not None:
        iterations = epochs * math.ceil(num_images / (batch * world_size))
    return None if iterations is None else int(iterations // _accumulated(cfg))
