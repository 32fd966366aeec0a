"""Look for what in the data makes a training fail or learn little, before it starts."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import mmengine.fileio as fileio
import numpy as np

from mmdetr.utils.text import shorten

from .box_formats import NORMALISED, PERCENT, SWAPPED
from .coco_suspicions import Suspicions
from .file_names import hint
from .image_scan import bad_images, has_other_loader, scan_images
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


def check_boxes(dataset: Any, name: str, know_frames: bool = True) -> list[Finding]:
    """Say what the boxes of a CocoDataset's file are, if they are not what COCO asks for.

    Args:
        dataset: One of :func:`named_leaves`.
        name: How messages call it.
        know_frames: False where turned photographs explain why boxes leave their images.
    """
    len(dataset)  # reads the file, if nobody did before
    form = suspicions_of(dataset).form
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
    return [
        Finding(
            rate_bad_images(dataset, len(missing), everything), text + shorten(missing) + advice
        )
    ]


def check_images(dataset: Any, name: str, sample: int | None) -> list[Finding]:
    """Find images that cannot be decoded; none where a pipeline has a loader of its own.

    Files that are missing, or whose headers say already that they are of no use, are left to
    :func:`check_files` and :func:`~.check_scan.check_scan`.

    Args:
        dataset: One of :func:`named_leaves`.
        name: How messages call it.
        sample: Number of images to decode, evenly spread; None for all.
    """
    if has_other_loader(dataset):
        return []
    infos = [info for info in image_infos(dataset, sample) if 'img_path' in info]
    scan = scan_images([info['img_path'] for info in infos], cache=False)
    known = {*scan.missing, *bad_images(scan, dataset, infos)}
    decoded = [info for info in infos if info['img_path'] not in known]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = [problem for problem in pool.map(_decode_problem, decoded) if problem]
    if not problems:
        return []
    level = rate_bad_images(dataset, len(problems), len(problems) == len(infos))
    text = f'{name}: {len(problems)} of {len(decoded)} images decoded cannot be used: '
    return [Finding(level, text + shorten(problems, separator='; '))]


def suspicions_of(dataset: Any) -> Suspicions:
    """Return what a dataset keeps of its boxes as stated; nothing where it keeps none."""
    return getattr(dataset, 'suspicions', None) or Suspicions()


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


def _decode_problem(info: dict) -> str | None:
    if not _exists(info['img_path']):
        return None
    try:
        LoadImageFromFile()({key: info[key] for key in ('img_path', 'width', 'height')})
    except UnreadableImageError as error:
        return str(error)
    return None


def rate_bad_images(dataset: Any, num_bad: int, everything: bool) -> str:
    """Rate bad images: testing stops at the first, training takes others up to a limit."""
    if dataset.test_mode or everything or num_bad > getattr(dataset, 'max_unreadable', num_bad):
        return 'error'
    return 'warning'
