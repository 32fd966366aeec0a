"""Go back to the best state of the strong augmentation when that ends."""

from pathlib import Path
from typing import Any

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook

from mmdetr.registry import HOOKS
from mmdetr.utils.arguments import check_at_least

from ..loops import ResumableEpochLoop
from ..resume.find import read_training
from ..resume.history import ValidationHistory
from ..resume.optimizer import settings_of, take_up_settings

_FOLDER, _FILE = 'best_state', 'best.pth'


@HOOKS.register_module()
class BestStateHook(Hook):
    """Before an epoch, load the whole state of the best epoch until then: weights, averaged
    weights and the optimiser's moments.

    After that, the same state comes back before each epoch that follows a validation without a
    new best value; what is best counts anew from there. Learning rates stay where the schedule has
    them. A resumed run does the same, for all of this follows from the validations on record.

    Args:
        switch_epoch: The epoch, counted from 0; as of the PipelineSwitchHook beside it.
        metric: What is best, the larger the better.

    Source: D-FINE, authors' code (stage 2 of the training).
    """

    # After the EMAHook has put the trained weights back, before the validation is on record.
    priority = 'LOW'

    def __init__(self, switch_epoch: int, metric: str = 'coco/bbox_mAP') -> None:
        check_at_least(1, 'BestStateHook', switch_epoch=switch_epoch)
        self.switch_epoch = switch_epoch
        self.metric = metric

    def before_train(self, runner: Any) -> None:
        """Refuse what cannot load a whole state in the middle of a training.

        Raises:
            TypeError: The runner is mmengine's own, or trains by iterations.
        """
        if not isinstance(runner.train_loop, ResumableEpochLoop):
            raise TypeError('BestStateHook needs a DetectionRunner that trains by epochs')

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Save the state of a new best epoch with strong augmentation.

        Raises:
            KeyError: No metric of that name was measured.
        """
        if runner.train_loop is None or not runner.epoch or runner.epoch > self.switch_epoch:
            return
        if self.metric not in (metrics or {}):
            raise KeyError(
                f'BestStateHook: metric={self.metric!r} is none of {sorted(metrics or {})}'
            )
        assert metrics is not None
        earlier = [score for epoch, score in self._scores(runner) if epoch < runner.epoch]
        if earlier and metrics[self.metric] <= max(earlier):
            return
        folder = Path(runner.work_dir) / _FOLDER
        if is_main_process():
            folder.mkdir(exist_ok=True)
        meta = dict(epoch=runner.epoch, iter=runner.iter, batches_done=0)
        runner.save_checkpoint(str(folder), _FILE, save_param_scheduler=False, meta=meta)

    def before_train_epoch(self, runner: Any) -> None:
        """Load the best state where that is due.

        Raises:
            FileNotFoundError: It was saved in another folder.
            ValueError: What is there is the state of another training.
        """
        if runner.train_loop.batches_done or not self._is_due(runner):
            return
        barrier()  # the main process may not have written it yet
        file = Path(runner.work_dir) / _FOLDER / _FILE
        wanted = self._best_epoch(runner)
        if wanted is None:
            runner.logger.warning(
                f'BestStateHook: no validation came before epoch {self.switch_epoch + 1}; training '
                'goes on from the present state'
            )
            return
        if not file.is_file():
            raise FileNotFoundError(
                f'BestStateHook: {file} is missing, the state after epoch {wanted}: copy it from '
                'the work_dir that the training began in'
            )
        start = read_training(str(file))
        content: Any = start.content
        epoch = content['meta']['epoch']
        if epoch != wanted:
            raise ValueError(
                f'BestStateHook: {file} is the state after epoch {epoch} of another training, '
                f'here epoch {wanted} was the best: resume from before epoch {wanted}'
            )
        runner._resume = True  # mmengine's EMAHook asks for it
        checkpoint = runner.load_checkpoint(start, strict=True)
        settings = settings_of(runner.optim_wrapper)
        runner.optim_wrapper.load_state_dict(dict(checkpoint['optimizer']))
        take_up_settings(runner.optim_wrapper, settings)
        runner.logger.info(f'Epoch {runner.epoch + 1}: goes on from the state after epoch {epoch}')

    def _best_epoch(self, runner: Any) -> int | None:
        """The best epoch with strong augmentation; None where none was validated."""
        scores = [each for each in self._scores(runner) if each[0] <= self.switch_epoch]
        return max(scores, key=lambda each: each[1])[0] if scores else None

    def _is_due(self, runner: Any) -> bool:
        if runner.epoch <= self.switch_epoch:
            return runner.epoch == self.switch_epoch
        best, last = -float('inf'), (0, True)
        for epoch, score in self._scores(runner):
            is_best = score > best
            last = epoch, is_best
            best = max(score, best)
            if epoch > self.switch_epoch and not is_best:
                best = -float('inf')
        return last[0] == runner.epoch and not last[1]

    def _scores(self, runner: Any) -> list[tuple[int, float]]:
        """Epochs done and value of each validation on record."""
        return [
            (entry['epoch'], entry['metrics'][self.metric])
            for entry in ValidationHistory(runner.message_hub).entries
            if self.metric in entry['metrics']
        ]
