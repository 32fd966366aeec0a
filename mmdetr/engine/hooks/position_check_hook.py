"""Compare the sizes of the pipelines' images with the positional encoding's before any step."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdetr.datasets.image_sizes import extreme_sizes
from mmdetr.datasets.wrappers import leaf_datasets, pipeline_steps
from mmdetr.registry import HOOKS
from mmdetr.utils.model import unwrap


@HOOKS.register_module()
class PositionCheckHook(Hook):
    """Stop a run whose images are too large, or of a wrong size, for a learned encoding.

    Looks at positional encodings with ``check_size(height, width)`` and at the last resizing step
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


def _check(runner: Runner, loader: str) -> None:
    model = unwrap(runner.model)
    encoding: Any = getattr(getattr(model, 'bbox_head', None), 'positional_encoding', None)
    strides = getattr(getattr(model, 'backbone', None), 'strides', None)
    if not hasattr(encoding, 'check_size') or strides is None:
        return
    divisor = getattr(model.data_preprocessor, 'pad_size_divisor', 1)
    for dataset in leaf_datasets(getattr(runner, loader).dataset):
        sizes = extreme_sizes(pipeline_steps(dataset) or ())
        for height, width in sorted((size[::-1] for size in sizes), reverse=True):
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
