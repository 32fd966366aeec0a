"""Sizes of the images that leave a pipeline, told by its steps without loading an image."""

from collections.abc import Iterable
from typing import Any

from mmcv.transforms import RandomChoice, RandomChoiceResize, RandomFlip
from mmcv.transforms import Resize as MMCVResize
from torch.utils.data import ConcatDataset

from .transforms import LoadAnnotations, LoadImageFromFile, PackDetInputs, RandomAffine, Resize
from .wrappers import parts, pipeline_steps

Size = tuple[int, int]  # (w, h) in pixels
# LoadImageFromFile refuses a file of another size than the stated one.
_KEEP_SIZE = (LoadImageFromFile, LoadAnnotations, RandomAffine, RandomFlip, PackDetInputs)


class UnknownSizeError(ValueError):
    """The size of the network's input cannot be told without loading the image; says why."""


def input_sizes(dataset: Any) -> list[Size]:
    """Return (w, h) of each image at the end of a dataset's pipeline.

    Raises:
        UnknownSizeError: The dataset does not state sizes, or a step may change them in ways of
            its own.
    """
    if isinstance(dataset, ConcatDataset):  # other wrappers repeat images or leave some out
        return [size for part in parts(dataset) for size in input_sizes(part)]
    name = type(dataset).__name__
    steps = pipeline_steps(dataset)
    if steps is None or not hasattr(dataset, 'get_data_info'):
        raise UnknownSizeError(f'{name} has no pipeline to tell their sizes from')
    by_stated_size: dict[Size, Size] = {}
    sizes = []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        try:
            stated = info['width'], info['height']
        except KeyError as error:
            raise UnknownSizeError(f'{name} does not state the {error} of image {index}') from None
        if stated not in by_stated_size:
            by_stated_size[stated] = _size_after(steps, stated)
        sizes.append(by_stated_size[stated])
    return sizes


def extreme_sizes(steps: Iterable, sizes: set[Size] | None = None) -> set[Size]:
    """Return the extreme sizes of the images that leave a pipeline, as far as its steps tell.

    Args:
        steps: The built steps.
        sizes: Known sizes of the images that enter it.

    Returns:
        (w, h); of images that keep their aspect ratio the longest in either orientation. Empty
        where nothing is known.
    """
    sizes = sizes or set()
    for step in steps:
        if isinstance(step, RandomChoice):
            branches = [extreme_sizes(branch, sizes) for branch in step.transforms]
            sizes = set().union(*branches)
        elif isinstance(step, RandomChoiceResize):
            keep_ratio = getattr(step.resize, 'keep_ratio', True)
            sizes = set().union(*(_sizes_of_scale(scale, keep_ratio) for scale in step.scales))
        elif isinstance(step, MMCVResize):
            sizes = _sizes_of_scale(step.scale, step.keep_ratio)
        elif not isinstance(step, _KEEP_SIZE):
            sizes = set()
    return sizes


def _size_after(steps: list, size: Size) -> Size:
    for step in steps:
        if isinstance(step, Resize):
            size = step.output_size(size)
        elif not isinstance(step, _KEEP_SIZE):
            raise UnknownSizeError(
                f'the step {type(step).__module__.partition(".")[0]}.{type(step).__name__} of the '
                'pipeline may change their sizes'
            )
    return size


def _sizes_of_scale(scale: Any, keep_ratio: bool) -> set[Size]:
    if not isinstance(scale, (tuple, list)) or None in scale:
        return set()
    width, height = scale
    return {(width, height), (height, width)} if keep_ratio else {(width, height)}
