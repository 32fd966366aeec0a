"""An interrupted run ends like one that was never interrupted."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.runner import Runner

from mmdetr.checkpoint import CheckpointError
from mmdetr.engine import DetectionRunner
from tests.helpers.interrupted import Interrupt, InterruptedRunError, train
from tests.helpers.toy import toy_config, weights


def history(work_dir: Path) -> list:
    return json.loads((work_dir / 'validation_history.json').read_text())


EMA = [dict(type='EMAHook', momentum=0.1)]
CASES = {
    'epochs': ('before_train_iter', 12, {}),
    'between checkpoint and validation': ('before_val', 10, {}),
    'between validation and the next epoch': ('before_train_epoch', 10, {}),
    'iterations': ('before_train_iter', 11, dict(by_epoch=False)),
    'iterations, over several passes': (
        'before_train_iter',
        17,
        dict(by_epoch=False, train_dataloader__dataset__length=9),
    ),
    'iterations, a finite sampler': (
        'before_train_iter',
        14,
        dict(by_epoch=False, train_dataloader__sampler__type='DefaultSampler'),
    ),
    'in the midst of an epoch': (
        'before_train_iter',
        9,
        dict(default_hooks__checkpoint__by_epoch=False, default_hooks__checkpoint__interval=3),
    ),
    'averaged weights': ('before_train_iter', 12, dict(custom_hooks=EMA)),
    'half accumulated gradients': (
        'before_train_iter',
        12,
        dict(optim_wrapper__accumulative_counts=4),
    ),
    'workers': (
        'before_train_iter',
        12,
        dict(train_dataloader__num_workers=2, train_dataloader__persistent_workers=True),
    ),
    'a seed drawn by mmengine': ('before_train_iter', 12, dict(randomness__seed=None)),
    'a schedule that follows the metric': (
        'before_train_iter',
        12,
        dict(param_scheduler=[dict(type='ReduceOnPlateauLR', monitor='toy/score', patience=0)]),
    ),
}


@pytest.mark.parametrize('case', CASES)
def test_resumed_run_equals_uninterrupted(tmp_path: Path, case: str, monkeypatch: Any) -> None:
    stage, iteration, changes = CASES[case]
    if case == 'a seed drawn by mmengine':
        seeds = iter([11, 11, 12])  # the resumed process draws another one
        monkeypatch.setattr('mmengine.runner.utils.sync_random_seed', lambda: next(seeds))
    expected = train(tmp_path / 'whole', **changes)
    train(tmp_path / 'broken', Interrupt(stage, iteration), **changes)
    resumed = train(tmp_path / 'broken', resume='auto', **changes)

    assert torch.equal(weights(resumed), weights(expected))
    lr = [runner.optim_wrapper.get_lr()['lr'] for runner in (resumed, expected)]
    assert lr[0] == lr[1]
    entries, expected_entries = history(tmp_path / 'broken'), history(tmp_path / 'whole')
    assert [e['metrics'] for e in entries] == [e['metrics'] for e in expected_entries]
    assert [e['best']['best_score'] for e in entries] == [
        e['best']['best_score'] for e in expected_entries
    ]
    names = [{p.name for p in (tmp_path / d).glob('*.pth')} for d in ('broken', 'whole')]
    assert names[0] == names[1]
    for name in names[0]:
        both = [torch.load(tmp_path / d / name, weights_only=True) for d in ('broken', 'whole')]
        for part in ('state_dict', 'ema_state_dict', 'gradients'):
            first, second = (content.get(part, {}) for content in both)
            assert first.keys() == second.keys()
            assert all(torch.equal(first[key], second[key]) for key in first), (name, part)


def test_interruption_in_test_cases_costs_something(tmp_path: Path) -> None:
    """The cases above resume: they neither begin anew nor find the training finished."""
    runner = train(tmp_path, Interrupt('before_train_iter', 12))
    assert (runner.epoch, runner.iter) == (2, 12)
    resumed = DetectionRunner.from_cfg(toy_config(tmp_path, resume='auto'))
    resumed.register_hook(Interrupt('before_train_iter', 10))
    with pytest.raises(InterruptedRunError):
        resumed.train()


def test_checkpoint_is_plain(tmp_path: Path) -> None:
    train(tmp_path, custom_hooks=EMA, optim_wrapper__accumulative_counts=3)
    with torch.serialization.safe_globals([]):
        content = torch.load(tmp_path / 'epoch_4.pth', weights_only=True)
    assert content['meta']['epoch'] == 4
    assert content['meta']['seed'] == 3
    assert content['meta']['dataset_meta']['classes'] == ('circle', 'square', 'triangle')


def test_finished_run_stays_as_it_is(tmp_path: Path) -> None:
    expected = train(tmp_path)
    before = history(tmp_path)
    resumed = train(tmp_path, resume='auto')
    assert torch.equal(weights(resumed), weights(expected))
    assert resumed.iter == 20
    assert history(tmp_path) == before


def test_more_epochs_after_the_end(tmp_path: Path) -> None:
    train(tmp_path / 'a', train_cfg__max_epochs=2)
    longer = train(tmp_path / 'a', resume='auto')
    assert torch.equal(weights(longer), weights(train(tmp_path / 'b')))


def test_checkpoint_written_by_mmengine(tmp_path: Path) -> None:
    """mmengine 0.10.7 cannot read its own files on torch >= 2.6: they hold more than tensors."""
    theirs: dict = dict(train_cfg__max_epochs=2, default_scope='mmengine')
    Runner.from_cfg(toy_config(tmp_path, **theirs)).train()
    resumed = train(tmp_path, resume='auto')
    assert (resumed.epoch, resumed.iter) == (4, 20)
    assert len(resumed.message_hub.get_scalar('train/loss').data[0]) == 20


def test_auto_begins_from_load_from_where_there_is_nothing_to_resume(tmp_path: Path) -> None:
    source = train(tmp_path / 'source', train_cfg__max_epochs=1)
    path = str(tmp_path / 'source' / 'epoch_1.pth')
    runner = DetectionRunner.from_cfg(
        toy_config(tmp_path / 'new', resume='auto', load_from=path, optim_wrapper__optimizer__lr=0)
    )
    runner.train()
    assert runner.epoch == 4
    assert torch.equal(weights(runner), weights(source))


def test_damaged_newest_checkpoint(tmp_path: Path) -> None:
    train(tmp_path)
    newest = tmp_path / 'epoch_4.pth'
    newest.write_bytes(newest.read_bytes()[:2000])

    runner = DetectionRunner.from_cfg(toy_config(tmp_path, resume='auto'))
    start = runner._start
    assert start is not None
    assert Path(start.filename).name == 'epoch_3.pth'

    explicit = toy_config(tmp_path, resume=True, load_from=str(newest))
    with pytest.raises(CheckpointError, match=r'epoch_4\.pth.*truncated.*epoch_3\.pth'):
        DetectionRunner.from_cfg(explicit).train()

    (tmp_path / 'epoch_3.pth').write_bytes(b'')
    with pytest.raises(CheckpointError, match=r'no checkpoint in .* is intact'):
        DetectionRunner.from_cfg(toy_config(tmp_path, resume='auto')).train()


def test_flipped_bit_is_noticed_when_resuming(tmp_path: Path) -> None:
    train(tmp_path)
    newest = tmp_path / 'epoch_4.pth'
    content = bytearray(newest.read_bytes())
    weight = torch.load(newest, weights_only=True)['state_dict']['layers.0.weight']
    content[content.index(weight.numpy().tobytes())] ^= 1
    newest.write_bytes(content)
    start = DetectionRunner.from_cfg(toy_config(tmp_path, resume='auto'))._start
    assert start is not None
    assert Path(start.filename).name == 'epoch_3.pth'


def test_moved_work_dir(tmp_path: Path) -> None:
    train(tmp_path / 'old', train_cfg__max_epochs=2)
    (tmp_path / 'old').rename(tmp_path / 'new')
    resumed = train(tmp_path / 'new', resume='auto')
    assert torch.equal(weights(resumed), weights(train(tmp_path / 'other')))


def test_weights_alone_cannot_be_resumed(tmp_path: Path) -> None:
    train(tmp_path)
    path = next(tmp_path.glob('best_*.pth'))
    config = toy_config(tmp_path, resume=True, load_from=str(path))
    with pytest.raises(CheckpointError, match=r'no optimizer.*set load_from'):
        DetectionRunner.from_cfg(config).train()


def test_checkpoint_of_another_model(tmp_path: Path) -> None:
    runner = train(tmp_path)
    content = torch.load(tmp_path / 'epoch_4.pth', weights_only=True)
    content['state_dict']['layers.0.weight'] = torch.zeros(5, 5)
    torch.save(content, tmp_path / 'epoch_4.pth')
    config = toy_config(tmp_path, resume=True, load_from=str(tmp_path / 'epoch_4.pth'))
    with pytest.raises(RuntimeError, match=r'layers\.0\.weight'):
        DetectionRunner.from_cfg(config).train()
    assert runner.iter == 20
