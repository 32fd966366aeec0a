"""Look for what in the data makes a training fail or learn little, before it starts."""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import mmengine.fileio as fileio
import numpy as np

from mmdetr.utils.text import shorten

from .coco_json import read_coco_json
from .transforms import LoadImageFromFile, UnreadableImageError
from .wrappers import leaf_datasets

SUSPICIOUS_SHARE = 0.2


class Finding(NamedTuple):
    """One result of a check.

    Attributes:
        level: ``'error'`` for what training cannot work with, ``'warning'`` or ``'info'``.
        text: In words, with what to do about it.
    """

    level: str
    text: str


def named_leaves(dataset: Any, name: str) -> list[tuple[Any, str]]:
    """Return the datasets inside of wrappers that list images, each with a name for messages.

    Args:
        dataset: A dataset or a wrapper.
        name: How messages call the whole.
    """
    leaves = [leaf for leaf in leaf_datasets(dataset) if hasattr(leaf, 'get_data_info')]
    if len(leaves) == 1:
        return [(leaves[0], name)]
    return [(leaf, f'{name}, dataset {i}') for i, leaf in enumerate(leaves)]


def check_objects(
    dataset: Any, name: str, num_queries: int | None, required: bool = True
) -> list[Finding]:
    """Find wrong labels, dirty boxes, empty classes, more objects than queries; reads no file.

    Args:
        dataset: One of :func:`named_leaves`.
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
    wrong = sorted(label for label in per_class if not 0 <= label < len(classes))
    if classes and wrong:
        findings.append(
            Finding(
                'error',
                f'{name}: labels {shorten(wrong)} are none of its {len(classes)} classes: a '
                'dataset gives bbox_label 0 to the number of classes less one',
            )
        )
    without = [each for label, each in enumerate(classes) if not per_class[label]]
    if without and counts.any():
        findings.append(
            Finding(
                'warning', f'{name}: no instances of {len(without)} classes: {shorten(without)}'
            )
        )
    if num_queries is not None and (counts > num_queries).any():
        findings.append(
            Finding(
                'warning',
                f'{name}: {(counts > num_queries).sum()} images have more objects than the '
                f'{num_queries} queries, up to {counts.max()}: the rest is neither learnt nor '
                "found. Raise the head's num_queries",
            )
        )
    return findings


def check_xyxy(dataset: Any, name: str) -> list[Finding]:
    """Find corners in the file of a CocoDataset where COCO has left, top, width, height."""
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
    """Say whether boxes read as xywh leave their images, and read as xyxy are all right.

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
    """Find missing image files.

    Args:
        dataset: One of :func:`named_leaves`.
        name: How messages call it.
        sample: Number of images to look for, evenly spread; None for all.
    """
    paths = [info['img_path'] for info in _infos(dataset, sample) if 'img_path' in info]
    missing = [path for path in paths if not fileio.exists(path)]
    if not missing:
        return []
    text = f'{name}: {len(missing)} of {len(paths)} image files looked for are missing: '
    hint = '. Check data_root and data_prefix'
    everything = len(missing) == len(paths)
    return [Finding(_level(dataset, len(missing), everything), text + shorten(missing) + hint)]


def check_images(dataset: Any, name: str, sample: int | None) -> list[Finding]:
    """Find images that cannot be decoded, or of another size than the annotation file says.

    Args:
        dataset: One of :func:`named_leaves`.
        name: How messages call it.
        sample: Number of images to decode, evenly spread; None for all. Missing files are left out.
    """
    infos = [info for info in _infos(dataset, sample) if 'img_path' in info]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = [problem for problem in pool.map(_decode_problem, infos) if problem]
    if not problems:
        return []
    everything = len(problems) == len(infos)
    text = f'{name}: {len(problems)} of {len(infos)} images decoded cannot be used: '
    return [
        Finding(
            _level(dataset, len(problems), everything), text + shorten(problems, separator='; ')
        )
    ]


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
        text += '. Many reach beyond their images: are they [x1, y1, x2, y2] instead of xywh?'
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
    """Rate bad images: testing stops at the first, training takes others up to a limit."""
    if dataset.test_mode or everything or num_bad > getattr(dataset, 'max_unreadable', num_bad):
        return 'error'
    return 'warning'
