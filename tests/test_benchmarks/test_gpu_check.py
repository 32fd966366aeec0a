"""The check at small size on a CPU: its numbers against the model's, and what it must notice."""

import copy
import json
from itertools import combinations
from unittest.mock import patch

import _model_check
import pytest
import torch
from _common import DEMO
from _model_check import ModelCheck, check_close, group_of_one
from gpu_check import results_table
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel

from mmdetr.models.detectors import DETR

SMALL = ('--device', 'cpu', '--size', 64, 64, '--repeats', 1)

FIGURES = dict(seconds=[0.02], peak_mib=300.4)
GPU_RESULT = dict(
    size=[800, 1066],
    image=FIGURES,
    forms=dict(seconds=dict(plain=[0.02], fast=[0.01])),
    loss=dict(float32=10.0, bfloat16=10.1, float16=9.99),
    ddp_difference=0.0,
    step=dict.fromkeys(('float32', 'bfloat16', 'float16'), FIGURES),
)


@pytest.fixture
def one_rank():
    with group_of_one('cpu'):
        yield


@pytest.fixture(scope='module')
def small() -> ModelCheck:
    return ModelCheck(DEMO, 'cpu', [64, 64], 2, 1)


def plain_loss(check: ModelCheck) -> torch.Tensor:
    """By the model's public calls; the demo drops nothing out."""
    data = check.model.train().data_preprocessor(check.batch, training=True)
    losses = check.model(**data, mode='loss')
    return sum(value for name, value in losses.items() if 'loss' in name)


def test_run_on_a_cpu(run_benchmark, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        run_benchmark('gpu_check.py', DEMO, *SMALL)
    assert end.value.code == 0
    content = json.loads(next(tmp_path.glob('gpu_check_*.json')).read_text())
    assert content['device'] == 'cpu'
    assert not content['failed']
    result = content['models'][DEMO.stem]
    losses = result['loss']
    assert losses['bfloat16'] == pytest.approx(losses['float32'], rel=0.02)
    assert losses['float16'] == pytest.approx(losses['float32'], rel=0.005)
    assert losses['bfloat16'] != losses['float32']
    first, *_, last = result['step']['float32']['losses']
    assert first == pytest.approx(losses['float32'], rel=1e-5)
    assert last < first  # the same batch again and again
    assert f'| {DEMO.stem} | 64 x 64 |' in capsys.readouterr().out
    assert not torch.distributed.is_initialized()


@pytest.mark.usefixtures('one_rank')
def test_losses_are_those_of_the_model(small):
    expected = plain_loss(small)
    assert small.compare_precisions()['float32'] == pytest.approx(float(expected.detach()))
    expected.backward()
    norm = sum(p.grad.square().sum() for p in small.model.parameters() if p.grad is not None) ** 0.5
    assert small._loss_and_gradient_norm(small.model)[1] == pytest.approx(float(norm), rel=1e-5)
    assert small.compare_ddp() == 0


@pytest.mark.usefixtures('one_rank')
def test_wrong_loss_or_gradients_in_ddp_are_noticed(small, monkeypatch):
    forward = MMDistributedDataParallel.forward

    def larger(self, *args, **kwargs):
        return {name: 1.001 * value for name, value in forward(self, *args, **kwargs).items()}

    monkeypatch.setattr(MMDistributedDataParallel, 'forward', larger)
    with pytest.raises(ValueError, match='loss in DDP is'):
        small.compare_ddp()

    def detached(self, *args, **kwargs):
        losses = forward(self, *args, **kwargs)
        return losses | dict(loss_bbox=losses['loss_bbox'].detach())

    monkeypatch.setattr(MMDistributedDataParallel, 'forward', detached)
    with pytest.raises(ValueError, match='gradients in DDP is'):
        small.compare_ddp()


def test_broken_weights_are_noticed(small, monkeypatch):
    """Not finite after the last step, as a kernel might leave them: no loss shows it."""
    train_step = DETR.train_step
    calls = []

    def broken(self, *args):
        calls.append(train_step(self, *args))
        if len(calls) == _model_check.WARMUP + small.repeats:
            self.bbox_head.query_embedding.weight.data[0] = float('nan')
        return calls[-1]

    monkeypatch.setattr(DETR, 'train_step', broken)
    weights = copy.deepcopy(small.model.state_dict())
    with pytest.raises(ValueError, match='loss or weights of steps in float32 are not finite'):
        small.step('float32')
    small.model.load_state_dict(weights)


def test_a_failing_model_is_named_and_the_others_go_on(run_benchmark, tmp_path, monkeypatch):
    def run(check):
        if check.cfg.filename.endswith(DEMO.name):
            raise ValueError('loss in DDP is 1 instead of 2')
        return GPU_RESULT

    monkeypatch.setattr(ModelCheck, 'run', run)
    child = tmp_path / 'child.py'
    child.write_text(f"_base_ = '{DEMO}'\n")
    with pytest.raises(SystemExit, match=f'error: failed: {DEMO.stem}$'):
        run_benchmark('gpu_check.py', DEMO, child, *SMALL)
    content = json.loads(next(tmp_path.glob('gpu_check_*.json')).read_text())
    assert content['models'] == dict(child=GPU_RESULT)
    assert content['failed'] == {DEMO.stem: 'ValueError: loss in DDP is 1 instead of 2'}


def test_noise_and_sizes_that_are_drawn_do_not_differ_in_ddp(one_rank, tmp_path):
    """Without a seed the loss of the second call is another one."""
    child = tmp_path / 'child.py'
    child.write_text(
        f"_base_ = '{DEMO.with_name('rtdetrv2_tiny_1xb32-12e_shapes.py')}'\n"
        "model = dict(data_preprocessor=dict(type='MultiScaleDataPreprocessor', "
        'sizes=list(range(64, 128))))\n'
    )
    check = ModelCheck(child, 'cpu', [64, 64], 2, 1)
    check.model.train()
    assert check.compare_ddp() == 0.0


def test_detections_need_no_graph(small):
    def is_recorded(*_):
        return torch.is_grad_enabled()

    with patch.object(type(small.model.eval().bbox_head), 'predict', side_effect=is_recorded):
        assert small._detections(small.model) is False


def test_check_close_by_hand():
    assert check_close('x', 1.01, 1.0, 0.02) == pytest.approx(0.01)
    for value in (1.03, float('nan'), float('inf')):
        with pytest.raises(ValueError, match='x is'):
            check_close('x', value, 1.0, 0.02)


def test_zoo_has_each_model_once():
    def models(paths):
        return [Config.fromfile(path).model for path in paths]

    found = models(_model_check.zoo())
    assert not any(a == b for a, b in combinations(found, 2))
    assert all(each in found for each in models(DEMO.parent.glob('*_coco.py')))


def test_table_of_a_gpu_by_hand():
    assert results_table(dict(m=GPU_RESULT)).splitlines()[2] == (
        '| m | 800 x 1066 | median 20 ms (20 to 20, n = 1) | 300 | median 10 ms (10 to 10, n = 1) '
        '| 0.020 s, 300 | 0.020 s, 300 | 0.020 s, 300 | +1.0e-02 | -1.0e-03 | 0e+00 |'
    )


def test_without_a_gpu_it_says_so(run_benchmark, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(SystemExit, match='error: no GPU is available; --device cpu'):
        run_benchmark('gpu_check.py')
