"""Looks for what makes a training fail or learn little, before it starts."""

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import mmengine.fileio as fileio
import numpy as np

from mmdetr.datasets.coco_json import read_coco_json
from mmdetr.datasets.transforms import LoadImageFromFile
from mmdetr.datasets.transforms.loading import UnreadableImageError

SHOWN = 5
# What the authors answer users who train from scratch (facebookresearch/detr, issues 9, 22, 125).
SCRATCH_IMAGES = 10_000
SCRATCH_STEPS = 300_000
SUSPICIOUS_SHARE = 0.2


class Finding(NamedTuple):
    """One result of a check.

    Attributes:
        level: ``'error'`` for what training cannot work with, ``'warning'`` or ``'info'``.
        text: In words, with what to do about it.
    """

    level: str
    text: str


def leaf_datasets(dataset: Any) -> list[Any]:
    """The datasets inside of mmengine's wrappers that list images one by one."""
    if hasattr(dataset, 'datasets'):
        return [leaf for part in dataset.datasets for leaf in leaf_datasets(part)]
    if hasattr(dataset, 'dataset'):
        return leaf_datasets(dataset.dataset)
    return [dataset] if hasattr(dataset, 'get_data_info') else []


def check_objects(
    dataset: Any, name: str, num_queries: int | None, required: bool = True
) -> list[Finding]:
    """Dirty boxes, classes without instances, more objects than queries; reads no file.

    Args:
        dataset: One of :func:`leaf_datasets`.
        name: How messages call it.
        num_queries: N of the model, if known.
        required: Whether it is an error that there are no objects at all.
    """
    per_class: Counter = Counter()
    per_image = []
    for info in _infos(dataset):
        labels = [each['bbox_label'] for each in info['instances'] if not each['ignore_flag']]
        per_class.update(labels)
        per_image.append(len(labels))
    counts = np.array(per_image)
    findings = _describe(name, counts, required)
    findings += _check_dirty_boxes(dataset, name, sum(per_image))
    classes = dataset.metainfo.get('classes', ())
    without = [each for label, each in enumerate(classes) if not per_class[label]]
    if without and counts.any():
        findings.append(
            Finding('warning', f'{name}: no instances of {len(without)} classes: {_some(without)}')
        )
    if num_queries is not None and (counts > num_queries).any():
        findings.append(
            Finding(
                'warning',
                f'{name}: {(counts > num_queries).sum()} images have more objects than the '
                f'{num_queries} queries, up to {counts.max()}: what is beyond can be neither '
                'learnt nor found. Raise model.bbox_head.num_queries',
            )
        )
    return findings


def check_xyxy(dataset: Any, name: str) -> list[Finding]:
    """Whether the file of a CocoDataset has corners where COCO has left, top, width, height."""
    coco = read_coco_json(dataset.ann_file, need_annotations=False)
    if not len(coco.bboxes_xywh):
        return []
    sizes = np.array([(image['width'], image['height']) for image in coco.images])
    if not looks_like_xyxy(coco.bboxes_xywh, sizes[coco.image_indices]):
        return []
    return [
        Finding(
            'error',
            f'{name}: the boxes of {dataset.ann_file} look like [x1, y1, x2, y2]; COCO format is '
            '[x, y, width, height]. Convert them',
        )
    ]


def looks_like_xyxy(bboxes: np.ndarray, image_sizes: np.ndarray) -> bool:
    """Whether boxes read as xywh leave their images, and read as xyxy are all right.

    Args:
        bboxes: [M, 4] as stated in the file, pixels.
        image_sizes: [M, 2] width and height of each box's image.
    """
    first, second = bboxes[:, :2], bboxes[:, 2:]
    with np.errstate(over='ignore', invalid='ignore'):  # infinite ones leave their images
        leaves = (first + second > image_sizes + 1).any(axis=1)
    corners = (second > first).all(axis=1) & (second <= image_sizes + 1).all(axis=1)
    return bool(leaves.mean() > SUSPICIOUS_SHARE and corners.mean() > 0.99)


def check_files(dataset: Any, name: str, sample: int | None) -> list[Finding]:
    """Missing image files.

    Args:
        dataset: One of :func:`leaf_datasets`.
        name: How messages call it.
        sample: Look for so many, evenly spread; None for all.
    """
    paths = [info['img_path'] for info in _infos(dataset, sample) if 'img_path' in info]
    missing = [path for path in paths if not fileio.exists(path)]
    if not missing:
        return []
    text = f'{name}: {len(missing)} of {len(paths)} image files looked for are missing: '
    hint = '. Check data_root and data_prefix'
    everything = len(missing) == len(paths)
    return [Finding(_level(dataset, len(missing), everything), text + _some(missing) + hint)]


def check_images(dataset: Any, name: str, sample: int | None) -> list[Finding]:
    """Images that cannot be decoded, or whose size is not that of the annotation file.

    Args:
        dataset: One of :func:`leaf_datasets`.
        name: How messages call it.
        sample: Decode so many, evenly spread; None for all. Missing files are left out.
    """
    infos = [info for info in _infos(dataset, sample) if 'img_path' in info]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = [problem for problem in pool.map(_decode_problem, infos) if problem]
    if not problems:
        return []
    everything = len(problems) == len(infos)
    text = f'{name}: {len(problems)} of {len(infos)} images decoded cannot be used: '
    return [Finding(_level(dataset, len(problems), everything), text + _some(problems, '; '))]


def check_num_classes(model: Mapping, classes: Sequence[str], name: str) -> list[Finding]:
    """Every ``num_classes`` in a model's config against the classes of a dataset."""
    return [
        Finding(
            'error',
            f'{key} is {value}, but {name} has {len(classes)} classes ({_some(classes)}): '
            f'set {key}={len(classes)}',
        )
        for key, value in find_key(model, 'num_classes', 'model')
        if value != len(classes)
    ]


def check_batch(cfg: Mapping, world_size: int) -> list[Finding]:
    """Images per optimiser step and learning rate, beside what the config is made for."""
    batch = cfg['train_dataloader']['batch_size']
    accumulated = cfg['optim_wrapper'].get('accumulative_counts', 1)
    effective = batch * world_size * accumulated
    lr = cfg['optim_wrapper']['optimizer']['lr']
    text = (
        f'batch: {batch} images x {world_size} processes x {accumulated} accumulated = {effective} '
        f'per optimiser step, learning rate {lr:g}'
    )
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
    """Images and steps against what DETR needs without published weights."""
    if cfg.get('load_from') or cfg.get('resume'):
        return []
    train = cfg['train_cfg']
    steps = train.get('max_iters') or train['max_epochs'] * math.ceil(
        num_images / (cfg['train_dataloader']['batch_size'] * world_size)
    )
    steps //= cfg['optim_wrapper'].get('accumulative_counts', 1)
    if num_images >= SCRATCH_IMAGES and steps >= SCRATCH_STEPS:
        return []
    return [
        Finding(
            'warning',
            f'training from scratch on {num_images} images for {steps} steps: DETR needs about '
            f'{SCRATCH_IMAGES} images and {SCRATCH_STEPS} steps for that. Set load_from to '
            'published weights, as configs/detr_r50_1xb4-30e_custom.py does',
        )
    ]


def find_key(cfg: Any, wanted: str, path: str = '') -> Iterator[tuple[str, Any]]:
    """Dotted paths and values of a key at any depth of a config."""
    if isinstance(cfg, Mapping):
        for key, value in cfg.items():
            if key == wanted:
                yield f'{path}.{key}', value
            else:
                yield from find_key(value, wanted, f'{path}.{key}')
    elif isinstance(cfg, list | tuple):
        for index, value in enumerate(cfg):
            yield from find_key(value, wanted, f'{path}.{index}')


def _infos(dataset: Any, sample: int | None = None) -> Iterator[dict]:
    indices: Any = range(len(dataset))
    if sample is not None and sample < len(dataset):
        indices = np.linspace(0, len(dataset) - 1, sample).round().astype(int).tolist()
    return (dataset.get_data_info(index) for index in indices)


def _describe(name: str, counts: np.ndarray, required: bool) -> list[Finding]:
    if not counts.any():
        level = 'error' if required else 'warning'
        return [Finding(level, f'{name}: none of {len(counts)} images has an object')]
    return [
        Finding(
            'info',
            f'{name}: {len(counts)} images, {counts.sum()} objects, {(counts == 0).sum()} images '
            f'without, at most {counts.max()} in one',
        )
    ]


def _check_dirty_boxes(dataset: Any, name: str, num_kept: int) -> list[Finding]:
    by_reason = {reason: len(ids) for reason, ids in getattr(dataset, 'dirty_boxes', {}).items()}
    if not by_reason:
        return []
    total = num_kept + sum(by_reason.values()) - by_reason.get('clipped', 0)
    parts = ', '.join(f'{count} {reason}' for reason, count in by_reason.items())
    text = f'{name}: of {total} boxes {parts}; all but the clipped ones are left out'
    leaving = by_reason.get('clipped', 0) + by_reason.get('outside', 0)
    if leaving > SUSPICIOUS_SHARE * total:
        text += '. So many beyond their images: are they [x1, y1, x2, y2] instead of xywh?'
    return [Finding('warning', text)]


def _decode_problem(info: dict) -> str | None:
    if not fileio.exists(info['img_path']):
        return None
    try:
        LoadImageFromFile()({key: info[key] for key in ('img_path', 'width', 'height')})
    except UnreadableImageError as error:
        return str(error)
    return None


def _level(dataset: Any, num_bad: int, everything: bool) -> str:
    """Testing stops at the first bad image, training takes others up to a limit."""
    if dataset.test_mode or everything or num_bad > getattr(dataset, 'max_unreadable', num_bad):
        return 'error'
    return 'warning'


def _some(items: Sequence, separator: str = ', ') -> str:
    more = f'{separator}and {len(items) - SHOWN} more' if len(items) > SHOWN else ''
    return separator.join(map(str, items[:SHOWN])) + more
