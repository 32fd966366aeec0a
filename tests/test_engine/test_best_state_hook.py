"""Going back to the best state where the strong augmentation ends, with averaged weights."""

import time
from pathlib import Path

import pytest
import torch
from mmcv.transforms import BaseTransform

import mmdetr.engine.runner
from mmdetr.engine.runner import DetectionRunner
from mmdetr.registry import DATASETS, TRANSFORMS
from tests.helpers.interrupted import Interrupt, InterruptedRunError
from tests.helpers.ranks import run_ranks
from tests.helpers.toy import ToyDataset, toy_config, weights

HOOKS = [
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.1, gamma=4),
    dict(type='BestStateHook', switch_epoch=3, metric='toy/score'),
    dict(type='PipelineSwitchHook', switch_epoch=3, switch_pipeline=[dict(type='Weaken')]),
]
# Best of the first three is the second; of the others the fourth is none, the fifth counts anew.
SCORES = [0.1, 0.5, 0.2, 0.3, 0.4, 0.6]


@TRANSFORMS.register_module()
class Weaken(BaseTransform):
    """Half of the input."""

    def transform(self, results: dict) -> dict:
        return {**results, 'inputs': results['inputs'] / 2}


@DATASETS.register_module()
class PipelineDataset(ToyDataset):
    """ToyDataset with a pipeline to be switched."""

    pipeline = staticmethod(dict)

    def __getitem__(self, index: int) -> dict:
        return self.pipeline(super().__getitem__(index))


def run(
    folder: Path, epochs: int = 6, skipped: int = 0, interrupt: Interrupt | None = None, **changes
):
    """Train; return the runner and the weights that each epoch began and ended with."""
    config = toy_config(
        folder,
        train_cfg__max_epochs=epochs,
        custom_hooks=HOOKS,
        param_scheduler=[],
        train_dataloader__dataset__type='PipelineDataset',
        **dict(val_evaluator=dict(type='ScriptedMetric', scores=SCORES[skipped:])) | changes,
    )
    runner = DetectionRunner.from_cfg(config)
    if interrupt is not None:
        runner.register_hook(interrupt)
    seen: dict[str, list] = dict(begin=[], end=[], average=[])
    hook = runner.hooks[[type(each).__name__ for each in runner.hooks].index('EMAHook')]
    steps = runner.call_hook

    def call_hook(name, **arguments):
        if name == 'after_train_epoch':
            seen['end'].append((weights(runner), average(hook)))
        steps(name, **arguments)
        if name == 'before_train_epoch':
            seen['begin'].append((weights(runner), average(hook)))

    runner.call_hook = call_hook
    runner.train()
    return runner, seen


def average(hook) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in hook.ema_model.module.parameters()])


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp('whole'))


def test_the_best_state_comes_back_where_it_is_due(whole):
    _, seen = whole
    # After the third epoch that of the second; after the fourth, which is no best one, again; the
    # fifth is a best one of those since then.
    came_from = [None, 0, 1, 1, 1, 4]
    for epoch, source in enumerate(came_from):
        if source is None:
            continue
        for found, expected in zip(seen['begin'][epoch], seen['end'][source], strict=True):
            assert torch.equal(found, expected), epoch
    assert not torch.equal(seen['begin'][3][0], seen['end'][2][0])
    assert type(whole[0].train_dataloader.dataset.pipeline.transforms[0]) is Weaken


@pytest.mark.parametrize('stopped', [3, 4])
def test_a_resumed_run_does_the_same(whole, tmp_path, stopped):
    run(tmp_path, epochs=stopped)
    runner, seen = run(tmp_path, resume=True, skipped=stopped)
    assert torch.equal(weights(runner), weights(whole[0]))
    assert torch.equal(seen['end'][-1][1], whole[1]['end'][-1][1])


@pytest.mark.parametrize('iteration', [17, 22])
def test_a_run_resumed_within_an_epoch_does_the_same(whole, tmp_path, iteration):
    """Within that which began with the best state, and within the next."""
    saving = dict(type='CheckpointHook', by_epoch=False, interval=iteration)
    with pytest.raises(InterruptedRunError):
        run(
            tmp_path,
            interrupt=Interrupt('before_train_iter', iteration + 1),
            default_hooks__checkpoint=saving,
        )
    runner, seen = run(tmp_path, resume='auto', skipped=iteration // 5)
    assert len(seen['end']) == 6 - iteration // 5
    assert torch.equal(weights(runner), weights(whole[0]))
    assert torch.equal(seen['end'][-1][1], whole[1]['end'][-1][1])


def test_a_run_that_goes_on_elsewhere_asks_for_the_state(tmp_path):
    run(tmp_path / 'first', epochs=3)
    start = str(tmp_path / 'first' / 'epoch_3.pth')
    with pytest.raises(FileNotFoundError, match=r'best.pth is missing, the state after epoch 2'):
        run(tmp_path / 'second', resume=True, skipped=3, load_from=start)


def test_the_state_of_another_training_is_refused(tmp_path):
    run(tmp_path, epochs=3, default_hooks__checkpoint__max_keep_ckpts=3)
    scores = dict(type='ScriptedMetric', scores=[0.05, 0.06])
    start = str(tmp_path / 'epoch_1.pth')
    with pytest.raises(ValueError, match='after epoch 2 of another training, here epoch 1'):
        run(tmp_path, resume=True, load_from=start, val_evaluator=scores)


def _train_on_rank(rank: int, folder: Path) -> None:
    if rank == 0:  # slow to write
        write = mmdetr.engine.runner.save_file
        mmdetr.engine.runner.save_file = lambda *args: (time.sleep(1), write(*args))
    config = toy_config(
        folder,
        train_cfg__max_epochs=3,
        val_evaluator=dict(type='ScriptedMetric', scores=[0.1, 0.2, 0.3]),
        custom_hooks=[dict(type='BestStateHook', switch_epoch=2, metric='toy/score')],
    )
    config.launcher = 'pytorch'
    config.default_hooks.checkpoint.interval = 9
    config.default_hooks.checkpoint.save_best = None
    runner = DetectionRunner.from_cfg(config)
    runner.train()
    torch.save(weights(runner), folder / f'{rank}.pth')


def test_ranks_wait_for_the_state(tmp_path):
    run_ranks(2, _train_on_rank, tmp_path)
    first, second = (torch.load(tmp_path / f'{rank}.pth') for rank in range(2))
    assert torch.equal(first, second)


def test_an_unknown_metric_is_named(tmp_path):
    config = toy_config(
        tmp_path,
        train_cfg__max_epochs=2,
        custom_hooks=[dict(type='BestStateHook', switch_epoch=1, metric='toy/other')],
    )
    with pytest.raises(KeyError, match="'toy/other' is none of"):
        DetectionRunner.from_cfg(config).train()
