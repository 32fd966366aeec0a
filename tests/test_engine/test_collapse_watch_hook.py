"""The collapse watch: figures by hand, warnings for collapsed models alone."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from mmdetr.engine import DetectionRunner
from mmdetr.engine.hooks import CollapseWatchHook
from mmdetr.engine.hooks.collapse_watch_hook import collapses, summarise
from mmdetr.models.losses.prediction_statistics import WATCHED
from mmdetr.registry import HOOKS
from tests.helpers.toy import ToyModel, toy_config

ROOT = Path(__file__).parents[2]
HEALTHY = dict(zip(WATCHED, (0.07, 0.2, 0.8, 7.0, 6.0), strict=True))


class Runner:
    """As much of a runner as the hook sees: epochs of two iterations."""

    train_dataloader = range(2)

    def __init__(self, world_size: int = 1) -> None:
        self.world_size = world_size
        self.messages: list[tuple[int, str]] = []
        self.logger = SimpleNamespace(
            info=lambda text: self.messages.append((logging.INFO, text)),
            log=lambda level, text: self.messages.append((level, text)),
        )

    def run(self, hook: CollapseWatchHook, *outputs: dict) -> None:
        hook.before_train(self)
        for self.iter, values in enumerate(outputs):
            hook.after_train_iter(self, batch_idx=0, outputs=values)

    @property
    def warnings(self) -> list[str]:
        return [text for level, text in self.messages if level == logging.WARNING]


def test_figures_over_the_epoch() -> None:
    """Objects weigh alike, whichever batch they are in; counts are those of all ranks."""
    runner = Runner(world_size=4)
    first = dict(zip(WATCHED, (0.1, 0.2, 0.9, 1.0, 1.0), strict=True))
    second = dict(zip(WATCHED, (0.3, 0.1, 0.1, 3.0, 0.0), strict=True))
    runner.run(CollapseWatchHook(), first, second, first, first)
    report, next_report = (text for _, text in runner.messages)
    assert report == (
        'Epoch 1, training batches: 20.0% of queries predict an object, box spread 0.150, '
        'matched queries: score 0.300, accuracy 25.0% (4 of 16)'
    )
    assert 'Epoch 2, ' in next_report
    assert '10.0% of queries' in next_report
    assert '(8 of 8)' in next_report


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(box_spread=0.001), ['same box', 'learning rate', 'load_from']),
        (dict(object_share=0.0, num_correct=0.0), ['no-object', '0 of 14 objects', 'iterations']),
        (dict(object_share=0.0), []),  # few objects, and found
        (dict(object_share=0.0, num_correct=0.0, num_matched=0.0), []),  # no objects at all
        (dict(num_correct=0.0), []),  # wrong classes are no collapse
        (dict(), []),
    ],
)
@pytest.mark.parametrize(
    'limit',
    [dict(warn_from_epoch=2, warn_from_iter=0), dict(warn_from_epoch=1, warn_from_iter=4)],
)
def test_warns_of_collapse_alone_and_not_at_first(
    changes: dict, words: list[str], limit: dict
) -> None:
    runner = Runner()
    runner.run(CollapseWatchHook(**limit), *[HEALTHY | changes] * 6)
    assert len(runner.messages) == 3 + len(runner.warnings)
    assert len(runner.warnings) == (2 if words else 0)
    for text in runner.warnings:
        assert all(word in text for word in words)


def test_both_collapses_at_once() -> None:
    figures = summarise(dict.fromkeys(WATCHED, 0.0) | dict(num_matched=5.0), 1, 1)
    assert len(collapses(figures)) == 2


def test_models_that_do_not_log_the_values_are_left_alone() -> None:
    runner = Runner()
    runner.run(CollapseWatchHook(), *[dict(loss=1.0)] * 4)
    assert runner.messages == []


@MODELS.register_module()
class WatchedToyModel(ToyModel):
    """Logs what a collapsed detector would."""

    def forward(self, *args: Any, mode: str = 'tensor', **kwargs: Any) -> Any:
        outputs = super().forward(*args, mode=mode, **kwargs)
        if mode == 'loss':
            outputs.update({name: torch.tensor(0.0) for name in WATCHED})
        return outputs


@pytest.mark.parametrize('by_epoch', [True, False])
def test_in_a_training(tmp_path: Any, by_epoch: bool) -> None:
    config = toy_config(tmp_path, by_epoch, model__type='WatchedToyModel')
    config.default_hooks.collapse_watch = dict(type='CollapseWatchHook', warn_from_iter=12)
    DetectionRunner.from_cfg(config).train()
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert log.count('training batches: 0.0% of queries') == 4
    assert log.count('Collapse after') == 2


def test_on_by_default_beside_hooks_of_ones_own() -> None:
    cfg = Config.fromfile(ROOT / 'configs/_base_/default_runtime.py')
    assert isinstance(HOOKS.build(cfg.default_hooks.collapse_watch), CollapseWatchHook)
