"""The guard against non-finite losses and gradients, in whole trainings of the toy model."""

import functools
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, MODELS
from mmengine.structures import InstanceData

from mmdetr.checkpoint import load_file
from mmdetr.engine import DetectionRunner
from mmdetr.engine.hooks import NonFiniteGuardHook
from mmdetr.registry import HOOKS
from mmdetr.structures import DetDataSample
from tests.helpers.toy import ToyDataset, ToyModel, toy_config, weights

from .test_distributed import train_on_two

ROOT = Path(__file__).parents[2]
BAD = 7  # the iteration with the trouble: the second of the second epoch


@DATASETS.register_module()
class NamedToyDataset(ToyDataset):
    """Samples with ids and boxes."""

    def __getitem__(self, index: int) -> dict:
        sample = DetDataSample(metainfo=dict(img_id=100 + index, img_shape=(4, 6)))
        sample.gt_instances = InstanceData(bboxes=torch.full((1, 4), float(index)))
        return dict(**super().__getitem__(index), data_samples=sample)


@MODELS.register_module()
class TroubledModel(ToyModel):
    """Has a non-finite loss, gradient or prediction from one iteration on."""

    def __init__(self, trouble: str, count: int = 1) -> None:
        super().__init__()
        self.trouble = trouble
        self.bad = range(BAD, BAD + count)
        self.calls = 0

    def forward(
        self, inputs: Any, target: Any, data_samples: Any = None, mode: str = 'tensor'
    ) -> Any:
        outputs = super().forward(inputs, target, mode)
        if mode != 'loss':
            return outputs
        self.calls += 1
        if self.calls not in self.bad:
            return outputs
        if self.trouble == 'prediction':
            raise FloatingPointError('non-finite predictions for the images with id [3]')
        if self.trouble == 'loss':
            outputs['loss'] = outputs['loss'] * float('nan')
        elif self.trouble == 'gradient':  # 0 is finite, the slope of the root there is not
            outputs['loss'] = outputs['loss'] + (self.layers[0].weight.sum() * 0).sqrt()
        return outputs


class Recorder(Hook):
    """Weights after each iteration, and the samples in it."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []
        self.ids: list[list[int]] = []

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self.weights.append(weights(runner))

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self.ids.append([sample.img_id for sample in data_batch['data_samples']])


def build(work_dir: Path, action: str, trouble: str, **changes: Any) -> tuple:
    count = changes.pop('count', 1)
    config = toy_config(
        work_dir, train_dataloader__dataset__type='NamedToyDataset', train_cfg__max_epochs=2
    )
    config.model = dict(type='TroubledModel', trouble=trouble, count=count)
    config.default_hooks.guard = dict(type='NonFiniteGuardHook', action=action)
    config.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    runner = DetectionRunner.from_cfg(config)
    recorder = Recorder()
    runner.register_hook(recorder)
    return runner, recorder


def log(work_dir: Path) -> str:
    return next(work_dir.glob('*/*.log')).read_text()


@pytest.mark.parametrize('trouble', ['loss', 'gradient'])
@pytest.mark.parametrize('clip_grad', [None, dict(max_norm=0.1), dict(type='value', clip_value=1)])
def test_skip_leaves_the_weights_and_goes_on(tmp_path: Path, trouble: str, clip_grad: Any) -> None:
    runner, recorder = build(tmp_path, 'skip', trouble, optim_wrapper__clip_grad=clip_grad)
    runner.train()
    changed = [
        not torch.equal(before, after) for before, after in itertools.pairwise(recorder.weights)
    ]
    expected = [True] * 9
    expected[BAD - 2] = False  # entry i compares iterations i + 1 and i + 2
    assert changed == expected
    assert weights(runner).isfinite().all()
    text = log(tmp_path)
    assert f'non-finite {trouble} in iteration 7 (epoch 2)' in text
    assert f'images of id {recorder.ids[BAD - 1]}' in text
    assert 'skipped, 1 so far' in text
    assert '1 non-finite iterations were skipped' in text


@pytest.mark.parametrize('trouble', ['loss', 'gradient', 'prediction'])
def test_stop_keeps_the_batch_and_the_weights(tmp_path: Path, trouble: str) -> None:
    runner, recorder = build(tmp_path, 'stop', trouble)
    with pytest.raises(FloatingPointError) as caught:
        runner.train()
    assert torch.equal(weights(runner), recorder.weights[BAD - 2])
    ids = recorder.ids[BAD - 1]
    path = tmp_path / 'non_finite' / 'iter_7_rank0.pth'
    assert list(path.parent.iterdir()) == [path]
    kept = load_file(path)
    assert (kept['iter'], kept['epoch']) == (BAD - 1, 1)
    assert [sample['img_id'] for sample in kept['data_batch']['data_samples']] == ids
    for img_id, sample in zip(ids, kept['data_batch']['data_samples'], strict=True):
        assert sample['gt_instances']['bboxes'].tolist() == [[img_id - 100.0] * 4]
    assert len(kept['data_batch']['inputs']) == 4
    if trouble == 'prediction':  # the criterion's own error, with the batch in the log
        assert 'id [3]' in str(caught.value)
        assert f'the batch is kept in {path}' in log(tmp_path)
    else:
        assert all(text in str(caught.value) for text in (f'id {ids}', 'loss=', str(path)))


@pytest.mark.parametrize(('trouble', 'fourth_step'), [('loss', True), ('gradient', False)])
def test_skip_while_accumulating(tmp_path: Path, trouble: str, fourth_step: bool) -> None:
    """Pairs of iterations make a step. A bad loss in the seventh leaves the eighth to its step; a
    bad gradient shows at the step alone, and costs it."""
    runner, recorder = build(tmp_path, 'skip', trouble, optim_wrapper__accumulative_counts=2)
    runner.train()
    steps = [recorder.weights[i] for i in (1, 3, 5, 7, 9)]
    changed = [not torch.equal(before, after) for before, after in itertools.pairwise(steps)]
    assert changed == [True, True, fourth_step, True]
    assert steps[-1].isfinite().all()


def test_endless_skipping_ends(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr('mmdetr.engine.hooks.non_finite_guard_hook.MAX_IN_SUCCESSION', 3)
    monkeypatch.setattr('mmdetr.engine.hooks.non_finite_guard_hook.MAX_SNAPSHOTS', 2)
    runner, _ = build(tmp_path, 'skip', 'loss', count=99)
    with pytest.raises(FloatingPointError, match=r'iteration 9 .*\(3 in succession\)'):
        runner.train()
    assert len(list((tmp_path / 'non_finite').iterdir())) == 2


def test_a_good_run_is_not_touched(tmp_path: Path) -> None:
    guarded, _ = build(tmp_path / 'a', 'stop', 'none')
    guarded.train()
    bare, _ = build(tmp_path / 'b', 'stop', 'none', default_hooks__guard=None)
    bare.train()
    assert torch.equal(weights(guarded), weights(bare))
    assert not (tmp_path / 'a' / 'non_finite').exists()
    assert 'train_step' not in vars(guarded.model)  # the step is its own again


@MODELS.register_module()
class TroubledOnOneRank(TroubledModel):
    """In trouble on the second rank alone."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if get_rank() == 0:
            self.trouble = 'none'
        return super().forward(*args, **kwargs)


@pytest.mark.parametrize('trouble', ['loss', 'gradient'])
def test_two_processes_skip_together(tmp_path: Path, trouble: str) -> None:
    content = train_on_two(
        tmp_path,
        model=dict(type='TroubledOnOneRank', trouble=trouble, _delete_=True),
        default_hooks__guard=dict(type='NonFiniteGuardHook', action='skip'),
    )
    assert all(value.isfinite().all() for value in content['state_dict'].values())
    # DistributedDataParallel does not compare weights; the optimiser counts the steps it took.
    iterations = content['meta']['iter']
    steps = {int(state['step']) for state in content['optimizer']['state'].values()}
    assert steps == {iterations - 1}
    kept = [path.name for path in (tmp_path / 'non_finite').iterdir()]
    assert sorted(kept) == ['iter_7_rank0.pth', 'iter_7_rank1.pth']


@pytest.fixture
def amp_on_cpu(monkeypatch: Any) -> None:
    module = 'mmengine.optim.optimizer.amp_optimizer_wrapper'
    scaler = functools.partial(torch.amp.GradScaler, 'cpu')
    monkeypatch.setattr(f'{module}.is_cuda_available', lambda: True)
    monkeypatch.setattr(f'{module}.GradScaler', scaler, raising=False)


@pytest.mark.usefixtures('amp_on_cpu')
@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('clip_grad', [None, dict(max_norm=0.1)])
@pytest.mark.parametrize(
    ('trouble', 'loss_scale', 'fails'),
    [
        ('gradient', dict(init_scale=1024.0), False),  # what loss scaling is for
        ('gradient', 1.0, True),  # bfloat16 is not scaled
        ('loss', dict(init_scale=1024.0), True),
    ],
)
def test_loss_scaling(
    tmp_path: Path, trouble: str, loss_scale: Any, fails: bool, clip_grad: Any, fused: bool
) -> None:
    runner, recorder = build(
        tmp_path,
        'stop',
        trouble,
        optim_wrapper__type='AmpOptimWrapper',
        optim_wrapper__loss_scale=loss_scale,
        optim_wrapper__dtype='bfloat16',
        optim_wrapper__clip_grad=clip_grad,
        optim_wrapper__optimizer__fused=fused,
    )
    if fails:
        with pytest.raises(FloatingPointError, match=f'non-finite {trouble} in iteration 7'):
            runner.train()
        assert torch.equal(weights(runner), recorder.weights[BAD - 2])
    else:
        runner.train()
        assert torch.equal(recorder.weights[BAD - 1], recorder.weights[BAD - 2])
        assert 'non-finite' not in log(tmp_path)


def test_unknown_action() -> None:
    with pytest.raises(ValueError, match="'stop' or 'skip', not 'ignore'"):
        NonFiniteGuardHook('ignore')


def test_on_by_default() -> None:
    cfg = Config.fromfile(ROOT / 'configs/_base_/default_runtime.py')
    assert isinstance(HOOKS.build(cfg.default_hooks.non_finite_guard), NonFiniteGuardHook)


@pytest.mark.parametrize('trouble', ['loss', 'prediction'])
def test_what_went_wrong_is_told_where_the_batch_cannot_be_kept(
    tmp_path: Path, trouble: str
) -> None:
    (tmp_path / 'non_finite').touch()  # a file in the place of the folder
    runner, _ = build(tmp_path, 'stop', trouble)
    with pytest.raises(FloatingPointError, match='non-finite'):
        runner.train()
    assert 'the batch is not kept: ' in log(tmp_path)
