"""Training loops that can continue in the middle of an epoch and catch up on a validation."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop
from mmengine.runner.utils import calc_dynamic_intervals
from torch import nn
from torch.utils.data import DataLoader

from mmdetr.utils.arguments import check_at_least

from .data_sampling import SkippingBatchSampler, position_dataloader, seeded_dataloader_cfg

if TYPE_CHECKING:
    from .runner import DetectionRunner


def _seeded(dataloader: DataLoader | dict, runner: 'DetectionRunner') -> DataLoader | dict:
    """Let a dataloader that is still to be built seed its data per sample."""
    if isinstance(dataloader, dict):
        return seeded_dataloader_cfg(dataloader, runner.shared_seed)
    return dataloader


class ResumableEpochLoop(EpochBasedTrainLoop):
    """mmengine's epoch loop, which resumes within an epoch, over data seeded per sample.

    If the run died between an epoch's checkpoint and its validation, it validates first.

    Attributes:
        batches_done: Batches of the current epoch that are already trained.
        validation_missed: Whether the resumed run has no outcome of the validation that follows its
            checkpoint.
    """

    batches_done = 0
    validation_missed = False

    def __init__(
        self,
        runner: 'DetectionRunner',
        dataloader: DataLoader | dict,
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        check_at_least(1, 'train_cfg', max_epochs=max_epochs, val_interval=val_interval)
        super().__init__(
            runner,
            _seeded(dataloader, runner),
            max_epochs,
            val_begin,
            val_interval,
            dynamic_intervals,
        )

    def run(self) -> nn.Module:
        """Launch training."""
        self.runner.call_hook('before_train')
        if self.validation_missed and self.batches_done == 0:
            self._validate_if_due()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate_if_due()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train the rest of the current epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        first = self.batches_done
        position_dataloader(self.dataloader, self._epoch, skip=first)
        for index, data_batch in enumerate(self.dataloader, start=first):
            self.batches_done = index
            self.run_iter(index, data_batch)
        self.batches_done = 0
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _validate_if_due(self) -> None:
        self._decide_current_val_interval()
        if (
            self.runner.val_loop is not None
            and self._epoch >= self.val_begin
            and (self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs)
        ):
            self.runner.val_loop.run()


class ResumableIterLoop(IterBasedTrainLoop):
    """mmengine's iteration loop, which resumes without loading the data already trained.

    It validates first if the run died between a checkpoint and its validation.

    Attributes:
        validation_missed: As in :class:`ResumableEpochLoop`.
    """

    validation_missed = False

    def __init__(
        self,
        runner: 'DetectionRunner',
        dataloader: DataLoader | dict,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        check_at_least(1, 'train_cfg', max_iters=max_iters, val_interval=val_interval)
        # Past IterBasedTrainLoop.__init__, which starts the workers: the sampler is to have the
        # seed of a resumed run first. The rest of what it sets follows.
        BaseLoop.__init__(self, runner, _seeded(dataloader, runner))
        self._max_iters = int(max_iters)
        self._max_epochs = 1
        self._epoch = self._iter = 0
        self.val_begin = val_begin
        self.val_interval = val_interval
        self.stop_training = False
        self.runner.visualizer.dataset_meta = getattr(self.dataloader.dataset, 'metainfo', None)
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(
            val_interval, dynamic_intervals
        )

    def run(self) -> nn.Module:
        """Launch training."""
        self.runner.call_hook('before_train')
        # To hooks, the whole training is one long epoch.
        self.runner.call_hook('before_train_epoch')
        if self.validation_missed:
            self._validate_if_due()
        batches = self._batches()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._validate_if_due()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _batches(self) -> Iterator[Any]:
        """Batches from the current iteration on, over as many passes as it takes."""
        batch_sampler = self.dataloader.batch_sampler
        if isinstance(batch_sampler, SkippingBatchSampler) and batch_sampler.sampler.infinite:
            passes, skip = 0, self._iter
        else:
            passes, skip = divmod(self._iter, len(self.dataloader))
        while True:
            position_dataloader(self.dataloader, passes, skip)
            yield from self.dataloader
            passes, skip = passes + 1, 0

    def _validate_if_due(self) -> None:
        self._decide_current_val_interval()
        if (
            self.runner.val_loop is not None
            and self._iter >= self.val_begin
            and (self._iter % self.val_interval == 0 or self._iter == self._max_iters)
        ):
            self.runner.val_loop.run()
