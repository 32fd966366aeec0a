"""A run resumed with another config: what differs is taken up and named, or refused."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook

from mmdetr.checkpoint import CheckpointError
from mmdetr.engine import DetectionRunner
from tests.helpers.interrupted import Interrupt, resume, train
from tests.helpers.toy import toy_config, weights

EMA = [dict(type='EMAHook', momentum=0.1)]


def test_unchanged_config_is_resumed_without_a_word(tmp_path: Path) -> None:
    train(tmp_path, Interrupt('before_train_iter', 12))
    assert resume(tmp_path)[1] == []


def rates(runner: DetectionRunner) -> list[float]:
    return [float(value) for value in runner.message_hub.get_scalar('train/lr').data[0]]


SCHEDULES: dict[str, tuple[dict, dict]] = {
    # The schedule, and what it is for twice as many epochs.
    'multi-step': (dict(type='MultiStepLR', milestones=[1, 3]), {}),
    'step': (dict(type='StepLR', step_size=1), {}),
    'exponential': (dict(type='ExponentialLR', gamma=0.5), {}),
    'constant': (dict(type='ConstantLR', factor=0.1, end=3), {}),
    'linear': (dict(type='LinearLR', start_factor=0.1), {}),
    'polynomial': (dict(type='PolyLR', power=2), {}),
    'cosine without T_max': (dict(type='CosineAnnealingLR'), {}),
    'cosine': (dict(type='CosineAnnealingLR', T_max=2), dict(T_max=4)),
    'cosine by iteration': (
        dict(type='CosineAnnealingLR', T_max=2, convert_to_iter_based=True),
        dict(T_max=4),
    ),
    'cosine that stops': (
        dict(type='CosineAnnealingLR', T_max=2, end=2, eta_min=0.001),
        dict(T_max=4, end=4),
    ),
    'restarts': (
        dict(type='CosineRestartLR', periods=[1, 1], restart_weights=[1, 0.5], eta_min=0),
        dict(periods=[2, 2]),
    ),
    'one cycle': (
        dict(type='OneCycleLR', eta_max=0.1, total_steps=10, by_epoch=False),
        dict(total_steps=20),
    ),
    'momentum': (dict(type='LinearMomentum', start_factor=0.1), {}),
}


@pytest.mark.parametrize('case', SCHEDULES)
def test_extended_run_has_the_rates_of_one_that_was_to_be_long(tmp_path: Path, case: str) -> None:
    """After its end a run of 2 epochs goes on as one of 4 would; before, it was shorter."""
    schedule, longer = SCHEDULES[case]
    schedule = {'by_epoch': True, **schedule}
    long = dict(param_scheduler=[{**schedule, **longer}], optim_wrapper__accumulative_counts=2)
    expected = train(tmp_path / 'whole', **long)
    train(tmp_path / 'a', **{**long, 'param_scheduler': [schedule]}, train_cfg__max_epochs=2)
    resumed, said = resume(tmp_path / 'a', **long)
    assert rates(resumed)[10:] == rates(expected)[10:]
    groups = [runner.optim_wrapper.param_groups for runner in (resumed, expected)]
    for key in ('lr', 'betas', 'weight_decay'):
        assert [group[key] for group in groups[0]] == [group[key] for group in groups[1]]
    assert said[0] == 'train_cfg.max_epochs: 4 from now on, 2 in the checkpoint'
    for key in longer:
        assert any(line.startswith(f'param_scheduler.0.{key}: ') for line in said)


@pytest.mark.parametrize(
    ('schedule', 'longer'),
    [
        (dict(type='MultiStepLR', milestones=[3, 13]), {}),
        (dict(type='CosineAnnealingLR', T_max=10), dict(T_max=20)),
        (
            dict(type='CosineRestartLR', periods=[5, 5], restart_weights=[1, 0.5], eta_min=0),
            dict(periods=[10, 10]),
        ),
    ],
    ids=['multi-step', 'cosine', 'restarts'],
)
def test_extended_run_by_iterations(tmp_path: Path, schedule: dict, longer: dict) -> None:
    schedule = {**schedule, 'by_epoch': False}
    long = dict(by_epoch=False, param_scheduler=[{**schedule, **longer}])
    expected = train(tmp_path / 'whole', **long)
    train(tmp_path / 'a', by_epoch=False, param_scheduler=[schedule], train_cfg__max_iters=10)
    resumed, _ = resume(tmp_path / 'a', **long)
    assert rates(resumed)[10:] == rates(expected)[10:]
    if longer:
        train(tmp_path / 'b', by_epoch=False, param_scheduler=[schedule], train_cfg__max_iters=10)
        with pytest.raises(CheckpointError, match=r'param_scheduler\.0: .*after 20'):
            train(tmp_path / 'b', by_epoch=False, param_scheduler=[schedule], resume='auto')


@pytest.mark.parametrize(
    ('schedule', 'reason'),
    [
        (dict(type='CosineAnnealingLR', T_max=2), 'a cosine of T_max 2 climbs back'),
        (
            dict(type='CosineRestartLR', periods=[1, 1], restart_weights=[1, 1], eta_min=0),
            'CosineRestartLR is over after 2 epochs, the run after 4',
        ),
        (
            dict(type='OneCycleLR', eta_max=0.1, total_steps=10, by_epoch=False),
            'OneCycleLR is over after 10 iterations .*, the run after 20',
        ),
    ],
)
def test_schedule_that_ends_before_the_extended_run(
    tmp_path: Path, schedule: dict, reason: str
) -> None:
    changes = dict(param_scheduler=[schedule])
    train(tmp_path, train_cfg__max_epochs=2, **changes)
    with pytest.raises(CheckpointError, match=rf'param_scheduler\.0: {reason}'):
        train(tmp_path, resume='auto', **changes)
    assert not (tmp_path / 'epoch_3.pth').exists()


def test_settings_of_optimiser_and_schedule_are_taken_up_and_named(tmp_path: Path) -> None:
    """By hand: 1e-5, scaled by 4 images for 32, times 0.1 for the milestone that is passed."""
    train(tmp_path, train_cfg__max_epochs=2)
    config = toy_config(
        tmp_path,
        resume='auto',
        optim_wrapper__optimizer__lr=1e-5,
        optim_wrapper__optimizer__weight_decay=0.05,
        param_scheduler=[dict(type='MultiStepLR', milestones=[1], gamma=0.1)],
        auto_scale_lr=dict(enable=True, base_batch_size=32),
    )
    object.__setattr__(config, '_filename', 'named.py')  # as if it was read from there
    runner = DetectionRunner.from_cfg(config)
    state = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)['optimizer']['state'][0]
    seen: dict = {}

    class Look(Hook):
        def before_train(self, runner: Any) -> None:
            optimizer = runner.optim_wrapper.optimizer
            seen.update(optimizer.param_groups[0])
            seen['state'] = next(iter(optimizer.state.values()))['exp_avg'].clone()

    runner.register_hook(Look())
    runner.train()
    assert seen['lr'] == pytest.approx(1e-5 / 8 * 0.1)
    assert seen['weight_decay'] == 0.05
    assert torch.equal(seen['state'], state['exp_avg'])
    assert rates(runner)[10] == pytest.approx(1e-5 / 8 * 0.1)
    assert 'lr=1e-05' in (tmp_path / 'named.py').read_text()
    log = (tmp_path / runner.timestamp / f'{runner.timestamp}.log').read_text()
    for line in (
        'optim_wrapper.optimizer.lr: 1e-05 from now on, 0.01 in the checkpoint',
        'optim_wrapper.optimizer.weight_decay: 0.05 from now on, nothing in the checkpoint',
        'param_scheduler.0.milestones: [1] from now on, [3] in the checkpoint',
        'The learning rate goes on at 1.25e-07',
    ):
        assert f'Resuming: {line}' in log


def test_schedules_left_out_or_added(tmp_path: Path) -> None:
    train(tmp_path / 'a', train_cfg__max_epochs=2)
    assert resume(tmp_path / 'a', param_scheduler=[])[0].optim_wrapper.get_lr()['lr'] == [0.01]
    train(tmp_path / 'b', train_cfg__max_epochs=2, param_scheduler=[])
    added = resume(tmp_path / 'b')[0]
    assert added.optim_wrapper.get_lr()['lr'] == [pytest.approx(0.001)]


def test_schedule_that_follows_a_metric_is_not_repeated(tmp_path: Path) -> None:
    plateau = dict(type='ReduceOnPlateauLR', monitor='toy/score', patience=0)
    train(tmp_path, train_cfg__max_epochs=2, param_scheduler=[plateau])
    with pytest.raises(CheckpointError, match='ReduceOnPlateauLR follows the metrics'):
        train(tmp_path, resume='auto', param_scheduler=[{**plateau, 'patience': 1}])


def test_rest_of_the_config_is_compared(tmp_path: Path) -> None:
    train(tmp_path, train_cfg__max_epochs=2)
    said = resume(
        tmp_path,
        model__dropout=0.1,
        train_dataloader__batch_size=2,
        train_dataloader__num_workers=1,
        train_dataloader__dataset__augment=False,
        optim_wrapper__accumulative_counts=2,
        custom_hooks=EMA,
    )[1]
    paths = [line.partition(':')[0] for line in said]
    assert paths[:-1] == [
        'model.dropout',
        'train_dataloader.batch_size',
        'train_dataloader.dataset.augment',
        'train_cfg.max_epochs',
        'optim_wrapper.accumulative_counts',
        'custom_hooks',
    ]


def test_other_optimiser_or_parameters(tmp_path: Path) -> None:
    train(tmp_path)
    sgd = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9))
    with pytest.raises(CheckpointError, match=r'optimizer\.type: .* state of AdamW.*load_from'):
        train(tmp_path, resume='auto', optim_wrapper=sgd)
    runner = DetectionRunner.from_cfg(toy_config(tmp_path, resume='auto'))
    runner.model.layers[0].weight.requires_grad_(False)
    runner.optim_wrapper = runner.build_optim_wrapper(dict(optimizer=dict(type='AdamW', lr=0.1)))
    del runner.optim_wrapper.optimizer.param_groups[0]['params'][0]
    with pytest.raises(CheckpointError, match=r'4 parameters .* 3 in 1: .*frozen.*load_from'):
        runner.train()


def test_config_of_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    train(tmp_path, train_cfg__max_epochs=2)
    path = tmp_path / 'epoch_2.pth'
    content = torch.load(path, weights_only=True)
    content['meta']['cfg'] = f'import os\nos.mkdir({str(tmp_path / "made")!r})'
    torch.save(content, path)
    assert 'no config that can be read' in resume(tmp_path)[1][0]
    assert not (tmp_path / 'made').exists()


def test_average_that_only_one_side_has(tmp_path: Path) -> None:
    train(tmp_path / 'a', train_cfg__max_epochs=2, custom_hooks=EMA)
    plain = train(tmp_path / 'b')
    without, said = resume(tmp_path / 'a')
    assert torch.equal(weights(without), weights(plain))
    assert any('averaged weights, the config no EMAHook' in line for line in said)
    train(tmp_path / 'c', train_cfg__max_epochs=2)
    assert resume(tmp_path / 'c', custom_hooks=EMA)[1][1].startswith('custom_hooks: [EMAHook]')


def test_early_stopping_goes_on_counting(tmp_path: Path) -> None:
    """Best at the second epoch, two without a better one: whoever resumes stops there, too."""
    scores = [1.0, 2.0, 0.5, 0.4, 0.3, 0.2]
    stopping = [dict(type='EarlyStoppingHook', monitor='toy/score', rule='greater', patience=2)]
    changes = dict(custom_hooks=stopping, train_cfg__max_epochs=6)
    metric = 'val_evaluator'
    whole = train(tmp_path / 'a', **changes, **{metric: dict(type='ScriptedMetric', scores=scores)})
    assert whole.epoch == 4
    for epoch in (2, 3):
        folder = tmp_path / f'b{epoch}'
        evaluator = dict(type='ScriptedMetric', scores=scores)
        train(folder, Interrupt('before_train_epoch', epoch * 5), **changes, **{metric: evaluator})
        evaluator = dict(type='ScriptedMetric', scores=scores[epoch:])
        assert train(folder, resume='auto', **changes, **{metric: evaluator}).epoch == 4


def test_hooks_with_counters(tmp_path: Path) -> None:
    guard = dict(type='NonFiniteGuardHook', action='skip')
    train(tmp_path, train_cfg__max_epochs=2, default_hooks__guard=guard)
    content = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)
    counts = dict(num_skipped=7, in_succession=3, num_kept=2)
    assert content['hooks']['NonFiniteGuardHook'].keys() == counts.keys()
    content['hooks']['NonFiniteGuardHook'] = counts
    torch.save(content, tmp_path / 'epoch_2.pth')
    train(tmp_path, resume='auto', default_hooks__guard=guard)
    kept = torch.load(tmp_path / 'epoch_3.pth', weights_only=True)['hooks']['NonFiniteGuardHook']
    assert kept == {**counts, 'in_succession': 0}


class Counting(Hook):
    """A hook of one's own that counts in steps."""

    def __init__(self, step: int) -> None:
        self.step, self.count = step, 0

    def after_train_iter(self, runner: Any, *_: Any, **__: Any) -> None:
        self.count += self.step

    def state_dict(self) -> dict:
        return dict(count=self.count)

    def load_state_dict(self, state: dict) -> None:
        self.count = state['count']


def test_two_hooks_of_one_class_keep_their_own_counts(tmp_path: Path) -> None:
    def run(steps: tuple[int, ...], **changes: Any) -> tuple[list[int], str]:
        hooks = [dict(type=Counting, step=step) for step in steps]
        runner = DetectionRunner.from_cfg(toy_config(tmp_path, custom_hooks=hooks, **changes))
        runner.train()
        log = (tmp_path / runner.timestamp / f'{runner.timestamp}.log').read_text()
        return [hook.count for hook in runner.hooks if isinstance(hook, Counting)], log

    run((1, 100), train_cfg__max_epochs=2)
    assert run((1, 100), resume='auto', train_cfg__max_epochs=3)[0] == [15, 1500]
    counts, log = run((1,), resume='auto')
    assert counts == [20]
    assert 'Resuming: Counting_2 of the checkpoint is no hook of this run' in log


def test_changed_annotation_file_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    """By its content, wherever it is and whatever its name and time are."""
    file = tmp_path / 'train.json'
    file.write_text('{"images": []}')
    monkeypatch.setattr('tests.helpers.toy.ToyDataset.ann_file', str(file), raising=False)
    train(tmp_path / 'run', train_cfg__max_epochs=2)
    saved = torch.load(tmp_path / 'run' / 'epoch_2.pth', weights_only=True)['meta']['data_files']
    digest = hashlib.blake2b(b'{"images": []}', digest_size=16).hexdigest()
    keys = ['train_dataloader.dataset.ann_file', 'val_dataloader.dataset.ann_file']
    assert saved == dict.fromkeys(keys, digest)
    file.touch()
    assert len(resume(tmp_path / 'run', train_cfg__max_epochs=3)[1]) == 2
    file.write_text('{"images": [1]}')
    said = resume(tmp_path / 'run')[1]
    assert [line.partition(': the content')[0] for line in said[1:3]] == keys
