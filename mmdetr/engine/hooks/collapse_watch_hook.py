"""Notice early that a model predicts one box for everything, or nothing at all."""

import logging
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdetr.models.losses.prediction_statistics import WATCHED
from mmdetr.registry import HOOKS

# Seen in training: 0.13 of the image in a run that learns, 0.002 in one that has not begun to.
LOW_SPREAD = 0.01
LOW_OBJECT_SHARE = 0.001
LOW_ACCURACY = 0.01

ONE_BOX = (
    'all queries predict nearly the same box, whatever the image (spread {box_spread:.4f} of the '
    'image size). Likely causes: a learning rate too high for the batch (compare '
    '--auto-scale-lr), no gradient clipping, or training from scratch on too little data (start '
    'from published weights with load_from)'
)
NO_OBJECT = (
    'the model predicts no-object for nearly every query and finds {num_correct:.0f} of '
    '{num_matched:.0f} objects. Likely causes: too few iterations so far (from scratch DETR needs '
    'tens of thousands), a learning rate too high for the batch, no_object_weight of loss_cls far '
    'above 0.1, or annotations that do not fit the images (see tools/dataset/check.py)'
)


@HOOKS.register_module()
class CollapseWatchHook(Hook):
    """Log the health of the predictions once per epoch and warn of a collapse, naming causes.

    It reads the values that the criterion logs anyway: nothing is computed or copied for it. The
    figures are those of the last decoder layer on the training batches: the share of queries that
    predict an object, the spread of boxes over the queries of an image, score and accuracy of the
    matched queries with their counts over all ranks. In iteration-based training an epoch is a
    pass over the data. Models that do not log the values are left alone.

    Args:
        warn_from_epoch: Epochs to be completed before it warns. Models begin with one box and
            no-object everywhere.
        warn_from_iter: Iterations to be completed, for small data with short epochs.
    """

    def __init__(self, warn_from_epoch: int = 3, warn_from_iter: int = 1000) -> None:
        self.warn_from_epoch = warn_from_epoch
        self.warn_from_iter = warn_from_iter
        self._reset()

    def _reset(self) -> None:
        self._sums = dict.fromkeys(WATCHED, 0.0)
        self._iterations = 0

    def state_dict(self) -> dict[str, float]:
        """The sums over the part of an epoch that is done."""
        return dict(self._sums, iterations=self._iterations)

    def load_state_dict(self, state: dict[str, float]) -> None:
        self._iterations = int(state['iterations'])
        self._sums = {name: float(state[name]) for name in WATCHED}

    def after_train(self, runner: Runner) -> None:
        self._reset()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Add up, and report after each pass over the data."""
        if outputs is None or any(name not in outputs for name in WATCHED):
            return
        values = {name: float(outputs[name]) for name in WATCHED}
        values['matched_score'] *= values['num_matched']  # batches without objects do not count
        for name, value in values.items():
            self._sums[name] += value
        self._iterations += 1
        if (runner.iter + 1) % len(runner.train_dataloader) == 0:
            self._report(runner, epoch=(runner.iter + 1) // len(runner.train_dataloader))
            self._reset()

    def _report(self, runner: Runner, epoch: int) -> None:
        figures = summarise(self._sums, self._iterations, runner.world_size)
        runner.logger.info(
            f'Epoch {epoch}, training batches: {figures["object_share"]:.1%} of queries predict '
            f'an object, box spread {figures["box_spread"]:.3f}, matched queries: score '
            f'{figures["matched_score"]:.3f}, accuracy {figures["accuracy"]:.1%} '
            f'({figures["num_correct"]:.0f} of {figures["num_matched"]:.0f})'
        )
        if epoch < self.warn_from_epoch or runner.iter + 1 < self.warn_from_iter:
            return
        for problem in collapses(figures):
            runner.logger.log(logging.WARNING, f'Collapse after {epoch} epochs: {problem}')


def summarise(sums: dict[str, float], iterations: int, world_size: int) -> dict[str, float]:
    """Compute means of shares and spread, matched score and accuracy over all objects, and counts.

    Args:
        sums: Sums over iterations of the logged values, ``matched_score`` times ``num_matched``.
            Logged values are means over the ranks.
        iterations: Number of them.
        world_size: Number of ranks.
    """
    matched = max(sums['num_matched'], 1e-9)
    return dict(
        object_share=sums['object_share'] / iterations,
        box_spread=sums['box_spread'] / iterations,
        matched_score=sums['matched_score'] / matched,
        accuracy=sums['num_correct'] / matched,
        num_matched=sums['num_matched'] * world_size,
        num_correct=sums['num_correct'] * world_size,
    )


def collapses(figures: dict[str, float]) -> list[str]:
    """Say in words what is wrong with an epoch; nothing if it is sound."""
    problems = []
    if figures['box_spread'] < LOW_SPREAD:
        problems.append(ONE_BOX.format(**figures))
    # Data with few objects has a low share of them legitimately; then those are found.
    few_objects = figures['object_share'] < LOW_OBJECT_SHARE
    if few_objects and figures['num_matched'] and figures['accuracy'] < LOW_ACCURACY:
        problems.append(NO_OBJECT.format(**figures))
    return problems
