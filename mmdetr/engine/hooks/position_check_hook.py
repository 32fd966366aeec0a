"""Compare the sizes of the pipelines' images with the positional encoding's before any step."""

from collections.abc import Iterable, Iterator
from typing import Any

from mmcv.transforms import RandomChoice, RandomChoiceResize, RandomFlip
from mmcv.transforms import Resize as MMCVResize
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdetr.datasets.transforms import LoadAnnotations, PackDetInputs
from mmdetr.registry import HOOKS
from mmdetr.utils.model import unwrap

Sizes = set[tuple[int, int]]
_KEEP_SIZE = (LoadAnnotations, PackDetInputs, RandomFlip)


@HOOKS.register_module()
class PositionCheckHook(Hook):
    """Stop a run whose images are too large, or of a wrong size, for a learned encoding.

    Look at positional encodings with ``check_size(height, width)`` and at the last resizing step
    of the pipelines. Where that leaves the size open, or a step of one's own follows it, the
    encoding itself complains when such an image comes.

    Raises:
        ValueError: A pipeline can give an image that the positional encoding cannot take.
    """

    def before_train(self, runner: Runner) -> None:
        _check(runner, 'train_dataloader')
        if runner.val_loop is not None:
            _check(runner, 'val_dataloader')

    def before_val(self, runner: Runner) -> None:
        _check(runner, 'val_dataloader')

    def before_test(self, runner: Runner) -> None:
        _check(runner, 'test_dataloader')


def image_sizes(transforms: Iterable, sizes: Sizes | None = None) -> Sizes:
    """Find the extreme sizes of the images that leave a pipeline, as far as its steps tell.

    Args:
        transforms: The built steps.
        sizes: Known sizes of the images that enter it.

    Returns:
        (height, width) in pixels; of images that keep their aspect ratio the longest in either
        orientation. Empty where nothing is known.
    """
    sizes = sizes or set()
    for step in transforms:
        if isinstance(step, RandomChoice):
            branches = [image_sizes(branch, sizes) for branch in step.transforms]
            sizes = set().union(*branches)
        elif isinstance(step, RandomChoiceResize):
            keep_ratio = getattr(step.resize, 'keep_ratio', True)
            sizes = set().union(*(_resized(scale, keep_ratio) for scale in step.scales))
        elif isinstance(step, MMCVResize):
            sizes = _resized(step.scale, step.keep_ratio)
        elif not isinstance(step, _KEEP_SIZE):
            sizes = set()
    return sizes


def _resized(scale: Any, keep_ratio: bool) -> Sizes:
    if not isinstance(scale, (tuple, list)) or None in scale:
        return set()
    width, height = scale
    return {(height, width), (width, height)} if keep_ratio else {(height, width)}


def _check(runner: Runner, loader: str) -> None:
    model = unwrap(runner.model)
    encoding: Any = getattr(getattr(model, 'bbox_head', None), 'positional_encoding', None)
    strides = getattr(getattr(model, 'backbone', None), 'strides', None)
    if not hasattr(encoding, 'check_size') or strides is None:
        return
    divisor = getattr(model.data_preprocessor, 'pad_size_divisor', 1)
    for pipeline in _pipelines(getattr(runner, loader).dataset):
        for height, width in sorted(image_sizes(pipeline), reverse=True):
            # Padded by the preprocessor; then every halving of the backbone rounds up.
            padded = (-(-side // divisor) * divisor for side in (height, width))
            rows, columns = (-(-side // strides[-1]) for side in padded)
            _check_size(encoding, rows, columns, f'{loader}.dataset.pipeline', (height, width))


def _check_size(
    encoding: Any, rows: int, columns: int, pipeline: str, size: tuple[int, int]
) -> None:
    try:
        encoding.check_size(rows, columns)
    except ValueError as error:
        raise ValueError(
            f'{pipeline} can give images of {size[0]} x {size[1]} pixels (height x width), for '
            f'which {error} (model.bbox_head.positional_encoding, or the scales of the last '
            f'resizing step of {pipeline})'
        ) from error


def _pipelines(dataset: Any) -> Iterator[list]:
    """Find the steps of a dataset, or of those that a wrapper such as ConcatDataset holds."""
    for part in getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]:
        if part is not None:
            yield from _pipelines(part)
            continue
        transforms = getattr(getattr(dataset, 'pipeline', None), 'transforms', None)
        if transforms is not None:
            yield transforms
