"""Compare the classes of model and data before anything is computed with them."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdetr.registry import HOOKS
from mmdetr.utils.model import unwrap
from mmdetr.utils.text import shorten


@HOOKS.register_module()
class NumClassCheckHook(Hook):
    """Stop a run whose model and datasets disagree on the classes.

    Raises:
        ValueError: A part of the model has another ``num_classes`` than the dataset has classes,
            or training and validation data differ in their classes.
    """

    def before_train(self, runner: Runner) -> None:
        train_classes = _classes(runner.train_dataloader)
        _check_model(runner, train_classes, 'train_dataloader')
        if runner.val_loop is None:
            return
        val_classes = _classes(runner.val_dataloader)
        _check_model(runner, val_classes, 'val_dataloader')
        if train_classes and val_classes and train_classes != val_classes:
            raise ValueError(
                'train_dataloader.dataset and val_dataloader.dataset differ in their classes or in '
                f'the order of them: {train_classes} and {val_classes}. Set '
                'metainfo=dict(classes=...) of both'
            )

    def before_val(self, runner: Runner) -> None:
        _check_model(runner, _classes(runner.val_dataloader), 'val_dataloader')

    def before_test(self, runner: Runner) -> None:
        _check_model(runner, _classes(runner.test_dataloader), 'test_dataloader')


def _classes(dataloader: Any) -> tuple[str, ...]:
    metainfo = getattr(dataloader.dataset, 'metainfo', None) or {}
    return tuple(metainfo.get('classes') or ())


def _check_model(runner: Runner, classes: tuple[str, ...], loader: str) -> None:
    if not classes:
        return
    for name, module in unwrap(runner.model).named_modules():
        num_classes = getattr(module, 'num_classes', None)
        if isinstance(num_classes, int) and num_classes != len(classes):
            key = '.'.join(filter(None, ('model', name, 'num_classes')))
            raise ValueError(
                f'{key} is {num_classes}, but {loader}.dataset has {len(classes)} classes '
                f'({shorten(classes)}): set {key}={len(classes)} or the metainfo.classes of the '
                'dataset'
            )
