"""Compare the sizes of the pipelines' images with the positional encoding's before any step."""

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
    encodings = {name: m for name, m in model.named_modules() if hasattr(m, 'check_size')}
    strides = getattr(getattr(model, 'neck', None), 'strides', None)
    if not encodings or not strides:
        return
    divisor = getattr(model.data_preprocessor, 'pad_size_divisor', 1)
    for dataset in leaf_datasets(getattr(runner, loader).dataset):
        sizes = extreme_sizes(pipeline_steps(dataset) or ())
        for height, width in sorted((size[::-1] for size in sizes), reverse=True):
            # Padded by the preprocessor; then every halving of the backbone rounds up.
            padded = (-(-side // divisor) * divisor for side in (height, width))
            rows, columns = (-(-side // min(strides)) for side in padded)
            for name, encoding in encodings.items():
                try:
                    encoding.check_size(rows, columns)
                except ValueError as error:
                    pipeline = f'{loader}.dataset.pipeline'
                    raise ValueError(
                        f'{pipeline} can give images of {height} x {width} pixels (height x '
                        f'width), for which {error} (model.{name}, or the scales of the last '
                        f'resizing step of {pipeline})'
                    ) from error
