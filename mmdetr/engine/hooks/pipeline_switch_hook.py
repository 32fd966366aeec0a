"""Another pipeline for the last epochs, as after strong augmentation."""

from mmcv.transforms import Compose
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmdetr.datasets.wrappers import leaf_datasets
from mmdetr.registry import HOOKS
from mmdetr.utils.arguments import check_at_least
from mmdetr.utils.model import unwrap


@HOOKS.register_module()
class PipelineSwitchHook(Hook):
    """Switch the training pipeline before an epoch; a resumed run switches as well.

    Args:
        switch_epoch: First epoch with the new pipeline, counted from 0.
        switch_pipeline: Config of its steps.
        fixed_size: Also end the changing batch sizes of a MultiScaleDataPreprocessor.

    Source: mmdetection's hook of that name.
    """

    def __init__(
        self, switch_epoch: int, switch_pipeline: list[dict], fixed_size: bool = True
    ) -> None:
        check_at_least(0, 'PipelineSwitchHook', switch_epoch=switch_epoch)
        self.switch_epoch = switch_epoch
        self.switch_pipeline = switch_pipeline
        self.fixed_size = fixed_size
        self._switched = False

    def before_train_epoch(self, runner: Runner) -> None:
        if self._switched or runner.epoch < self.switch_epoch:
            return
        loader = runner.train_dataloader
        for dataset in leaf_datasets(loader.dataset):
            dataset.pipeline = Compose(self.switch_pipeline)
        if getattr(loader, 'persistent_workers', False):
            # Living workers hold copies of the old pipeline.
            loader._iterator = None
        preprocessor = unwrap(runner.model).data_preprocessor
        if self.fixed_size and hasattr(preprocessor, 'sizes'):
            preprocessor.sizes = ()
        self._switched = True
        print_log(f'Epoch {runner.epoch + 1}: the pipeline is switched', logger='current')
