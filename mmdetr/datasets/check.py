"""Look for what in the data makes a training fail or learn little, before it starts."""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import mmengine.fileio as fileio
import numpy as np

from mmdetr.utils.text import shorten

from .box_formats import NORMALISED, PERCENT, SWAPPED
from .file_names import hint
from .local_files import is_local
from .transforms import LoadImageFromFile, UnreadableImageError
from .wrappers import leaf_datasets

SUSPICIOUS_SHARE = 0.2


class DatasetError(ValueError):
    """Data that cannot be trained on or scored; the message names them and says what to do."""


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
    per_image, num_crowds = [], 0
    for info in image_infos(dataset):
        objects = info.get('instances', ())  # none in test data of one's own
        labels = [each['bbox_label'] for each in objects if not each['ignore_flag']]
        per_class.update(labels)
        per_image.append(len(labels))
        num_crowds += len(objects) - len(labels)
    counts = np.array(per_image)
    findings = _describe(name, counts, required, num_crowds)
    findings += _check_crowds(name, sum(per_image), num_crowds)
    findings += _check_placeholders(dataset, name)
    findings += _check_duplicate_boxes(dataset, name, sum(per_image) + num_crowds)
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


def check_boxes(dataset: Any, name: str, know_frames: bool = True) -> list[Finding]:
    """Say what the boxes of a CocoDataset's file are, if they are not what COCO asks for.

    Args:
        dataset: One of :func:`named_leaves`.
        name: How messages call it.
        know_frames: False where turned photographs explain why boxes leave their images.
    """
    len(dataset)  # reads the file, if nobody did before
    form = getattr(dataset, 'stated_format', None)
    if form is None or (form == SWAPPED and not know_frames):
        return []
    todo = 'Multiply them by width and height' if form in (NORMALISED, PERCENT) else 'Convert them'
    return [
        Finding(
            'error',
            f'{name}: the boxes of {dataset.ann_file} look like {form}; COCO format is '
            f'[x, y, width, height] in pixels. {todo}',
        )
    ]


def check_files(dataset: Any, name: str, sample: int | None) -> list[Finding]:
    """Find missing image files.

    Args:
        dataset: One of :func:`named_leaves`.
        name: How messages call it.
        sample: Number of images to look for, evenly spread; None for all.
    """
    paths = [info['img_path'] for info in image_infos(dataset, sample) if 'img_path' in info]
    prefix = (getattr(dataset, 'data_prefix', None) or {}).get('img', '')
    # Addresses in an exporter's file_name mean pictures that someone has to download first.
    elsewhere = is_local(prefix)
    missing = [path for path in paths if (elsewhere and '://' in path) or not _exists(path)]
    if not missing:
        return []
    text = f'{name}: {len(missing)} of {len(paths)} image files looked for are missing: '
    instead = hint(missing[0], prefix)
    advice = f'. But {instead}' if instead else ''
    if '://' in missing[0]:
        advice += '. Download the files of these addresses'
    advice += '. Check data_root and data_prefix, or file_name in the annotation file'
    everything = len(missing) == len(paths)
    return [Finding(_level(dataset, len(missing), everything), text + shorten(missing) + advice)]


def check_images(dataset: Any, name: str, sample: int | None) -> list[Finding]:
    """Find images that cannot be decoded, or of another size than the annotation file says.

    Args:
        dataset: One of :func:`named_leaves`.
        name: How messages call it.
        sample: Number of images to decode, evenly spread; None for all. Missing files are left out.
    """
    infos = [info for info in image_infos(dataset, sample) if 'img_path' in info]
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


def image_infos(dataset: Any, sample: int | None = None) -> Iterator[dict]:
    indices: Any = range(len(dataset))
    if sample is not None and sample < len(dataset):
        indices = np.linspace(0, len(dataset) - 1, sample).round().astype(int).tolist()
    return (dataset.get_data_info(index) for index in indices)


def _exists(path: str) -> bool:
    try:
        return bool(fileio.exists(path))
    except AttributeError:  # mmengine reads web addresses, but cannot ask for them
        return True
    except (KeyError, ImportError):  # a scheme that it does not know, or has no client for
        return False


def _check_crowds(name: str, num_objects: int, num_crowds: int) -> list[Finding]:
    if not num_crowds or not num_objects:
        return []
    share = num_crowds / (num_objects + num_crowds)
    text = f'{name}: {num_crowds} of {num_objects + num_crowds} annotations have iscrowd=1'
    if share <= SUSPICIOUS_SHARE:
        return [Finding('info', f'{text}; they are not learnt')]
    return [
        Finding(
            'warning',
            f'{text}, {share:.0%}: they are not learnt, and detections inside them do not count. '
            'Some exporters set it by mistake; single objects need iscrowd=0',
        )
    ]


def _check_placeholders(dataset: Any, name: str) -> list[Finding]:
    left_out = getattr(dataset, 'placeholders', None)
    if not left_out:
        return []
    shown = shorten(f'{cat_id} {text!r}' for cat_id, text in left_out.items())
    return [
        Finding(
            'warning',
            f"{name}: category {shown} is an exporter's placeholder without annotations and is "
            'no class. Name it in metainfo.classes if it is meant',
        )
    ]


def _check_duplicate_boxes(dataset: Any, name: str, num_boxes: int) -> list[Finding]:
    ids = getattr(dataset, 'duplicate_boxes', None)
    if not ids:
        return []
    return [
        Finding(
            'warning',
            f'{name}: {len(ids)} of {num_boxes} boxes repeat another of the same class and image, '
            f'in image ids {shorten(dict.fromkeys(ids))}: the model learns to find such objects '
            'twice. Remove the copies',
        )
    ]


def _describe(name: str, counts: np.ndarray, required: bool, num_crowds: int) -> list[Finding]:
    if not counts.any():
        level = 'error' if required else 'warning'
        if num_crowds:
            return [
                Finding(
                    level,
                    f'{name}: no object to learn from: all {num_crowds} annotations have '
                    'iscrowd=1. Single objects need iscrowd=0',
                )
            ]
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
        text += '. Many reach beyond their images: compare sizes and boxes of the file'
    return [Finding('warning', text)]


def _decode_problem(info: dict) -> str | None:
    if not _exists(info['img_path']):
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
