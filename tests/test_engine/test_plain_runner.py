"""Our hooks in the config of mmengine's own Runner: what they promise holds there, too."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner

from mmdetr.checkpoint import load_file
from mmdetr.engine import hooks
from mmdetr.registry import HOOKS
from tests.helpers.toy import toy_config, weights

from .test_non_finite_guard_hook import TroubledModel

NAMES = sorted(name for name in hooks.__all__ if isinstance(getattr(hooks, name), type))


def build(work_dir: Path, *custom_hooks: Any, **changes: Any) -> Runner:
    config = toy_config(work_dir, train_cfg__max_epochs=2, **changes)
    config.custom_hooks = list(custom_hooks)
    return Runner.from_cfg(config)


def test_all_hooks_are_known() -> None:
    assert set(NAMES) == {name for name in HOOKS.module_dict if hasattr(hooks, name)}
    assert len(NAMES) == 15


ARGUMENTS: dict[str, dict] = {
    'PipelineSwitchHook': dict(switch_epoch=1, switch_pipeline=[]),
}


@pytest.mark.parametrize('name', sorted({*NAMES} - {'BestStateHook'}))
def test_trains_and_validates(tmp_path: Path, name: str) -> None:
    replaced = dict(default_hooks__checkpoint=None) if name == 'CheckpointHook' else {}
    runner = build(tmp_path, dict(type=name, **ARGUMENTS.get(name, {})), **replaced)
    runner.train()
    assert runner.iter == 10
    runner.val()


def test_best_state_hook_needs_our_runner(tmp_path: Path) -> None:
    runner = build(tmp_path, dict(type='BestStateHook', switch_epoch=1))
    with pytest.raises(TypeError, match='needs a DetectionRunner'):
        runner.train()


def test_checkpoint_hook(tmp_path: Path) -> None:
    """The toy config names ours, with two checkpoints to keep and the best one."""
    runner = build(tmp_path)
    runner.train()
    history = json.loads((tmp_path / 'validation_history.json').read_text())
    assert [(entry['epoch'], entry['iter']) for entry in history] == [(1, 5), (2, 10)]
    best = max(history, key=lambda entry: entry['metrics']['toy/score'])
    assert {path.name for path in tmp_path.glob('*.pth')} == {
        'epoch_1.pth',
        'epoch_2.pth',
        f'best_toy_score_epoch_{best["epoch"]}.pth',
    }


def test_iteration_seed_hook(tmp_path: Path) -> None:
    """Dropout follows from the seed of the run, whatever is drawn between the steps."""

    class Draw(Hook):
        def before_train_iter(self, *args: Any, **kwargs: Any) -> None:
            torch.rand(1)

    results = []
    for others in ([], [Draw()]):
        folder, hook = tmp_path / str(len(results)), dict(type='IterationSeedHook')
        runner = build(folder, hook, train_dataloader__dataset__augment=False)
        runner.register_custom_hooks(others)
        runner.train()
        results.append(weights(runner))
    assert torch.equal(*results)


@pytest.mark.parametrize('trouble', ['loss', 'prediction'])
def test_non_finite_guard_hook(tmp_path: Path, trouble: str) -> None:
    model = dict(type=TroubledModel, trouble=trouble)
    runner = build(tmp_path, dict(type='NonFiniteGuardHook'), model=model)
    with pytest.raises(FloatingPointError):
        runner.train()
    kept = load_file(tmp_path / 'non_finite' / 'iter_7_rank0.pth')
    assert kept['iter'] == 6
    assert kept['seed'] == 3
    assert len(kept['data_batch']['inputs']) == 4


def test_non_finite_guard_hook_says_what_it_needs(tmp_path: Path) -> None:
    runner = build(tmp_path, dict(type='NonFiniteGuardHook'))
    runner.optim_wrapper = OptimWrapperDict()
    with pytest.raises(TypeError, match='guards one optimiser, not a OptimWrapperDict'):
        hooks.NonFiniteGuardHook().before_train(runner)
