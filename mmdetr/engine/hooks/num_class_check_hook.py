"""Compare the classes of model and data before anything is computed with them."""

from collections.abc import Iterator

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmdetr.config.training_check import (
    check_num_classes,
    check_same_classes,
    check_things,
    classes_of,
)
from mmdetr.datasets.check import Finding
from mmdetr.models import PanopticSegmentation
from mmdetr.registry import HOOKS
from mmdetr.utils.model import unwrap


@HOOKS.register_module()
class NumClassCheckHook(Hook):
    """Stop a run whose model and datasets disagree on the classes.

    Raises:
        ValueError: A part of the model has another ``num_classes`` than the dataset has classes or
            takes other classes for things, or training and validation data differ in their classes.
    """

    def before_train(self, runner: Runner) -> None:
        _check_model(runner, 'train_dataloader')
        if runner.val_loop is None:
            return
        _check_model(runner, 'val_dataloader')
        _raise_first(
            check_same_classes(
                classes_of(runner.train_dataloader.dataset),
                classes_of(runner.val_dataloader.dataset),
                'train_dataloader.dataset',
                'val_dataloader.dataset',
            )
        )

    def before_val(self, runner: Runner) -> None:
        _check_model(runner, 'val_dataloader')

    def before_test(self, runner: Runner) -> None:
        _check_model(runner, 'test_dataloader')


def _check_model(runner: Runner, loader: str) -> None:
    classes = classes_of(getattr(runner, loader).dataset)
    stated = _num_classes(unwrap(runner.model))
    _raise_first(check_num_classes(stated, classes, f'{loader}.dataset'))
    metainfo = getattr(getattr(runner, loader).dataset, 'metainfo', None) or {}
    for name, module in unwrap(runner.model).named_modules():
        panoptic = getattr(module, 'panoptic', None)
        if isinstance(panoptic, PanopticSegmentation) and 'isthing' in metainfo:
            key = '.'.join(filter(None, ('model', name, 'panoptic', 'things')))
            _raise_first(
                check_things(key, panoptic.things, metainfo['isthing'], f'{loader}.dataset')
            )


def _num_classes(model: nn.Module) -> Iterator[tuple[str, int]]:
    """Find every ``num_classes`` of a built model, with its key in the config."""
    for name, module in model.named_modules():
        num_classes = getattr(module, 'num_classes', None)
        if isinstance(num_classes, int):
            yield '.'.join(filter(None, ('model', name, 'num_classes'))), num_classes


def _raise_first(findings: list[Finding]) -> None:
    if findings:
        raise ValueError(findings[0].text)
