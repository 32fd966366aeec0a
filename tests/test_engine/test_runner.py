"""What the runner adds to mmengine's besides resuming."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import nn

from mmdetr.checkpoint import CheckpointError, load_file
from mmdetr.engine import DetectionRunner
from mmdetr.engine.distributed import check_ranks, choose_backend, init_cpu_process_group
from mmdetr.engine.loops import ResumableEpochLoop, ResumableIterLoop
from mmdetr.engine.resume.history import ValidationHistory
from tests.helpers.toy import ToyModel, toy_config, weights


def build(work_dir: Path, **changes: Any) -> DetectionRunner:
    return DetectionRunner.from_cfg(toy_config(work_dir, **changes))


def trained_file(folder: Path, **changes: Any) -> str:
    build(folder, train_cfg__max_epochs=1, **changes).train()
    return str(folder / 'epoch_1.pth')


@MODELS.register_module()
class SizedToyModel(ToyModel):
    """The same weights in another model."""


class PretrainedLayer(BaseModule):
    """A part of a model that wants weights from elsewhere."""

    def __init__(self, init_cfg: dict) -> None:
        super().__init__(init_cfg=init_cfg)
        self.layer = nn.Linear(3, 3)


@MODELS.register_module()
class PretrainedToyModel(ToyModel):
    def __init__(self, checkpoint: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backbone = PretrainedLayer(dict(type='Pretrained', checkpoint=checkpoint))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        if isinstance(output, dict):
            output['loss'] = output['loss'] + 0 * self.backbone.layer.weight.sum()
        return output


def test_pretrained_weights_are_not_fetched_in_vain(tmp_path: Path) -> None:
    """Neither to resume nor to start from a whole model nor to test: the file is not even there."""
    torch.save(
        {f'layer.{k}': v for k, v in nn.Linear(3, 3).state_dict().items()}, tmp_path / 'layer.pth'
    )
    model = dict(type='PretrainedToyModel', checkpoint=str(tmp_path / 'layer.pth'))
    path = trained_file(tmp_path / 'a', model=model)

    gone = dict(type='PretrainedToyModel', checkpoint=str(tmp_path / 'gone.pth'))
    with pytest.raises(FileNotFoundError, match=r'gone\.pth'):
        build(tmp_path / 'b', model=gone).train()
    build(tmp_path / 'c', model=gone, load_from=path).train()
    build(tmp_path / 'd', model=gone, load_from=path).val()
    build(tmp_path / 'a', model=gone, resume='auto').train()


def test_pretraining_stays_where_the_checkpoint_lacks_a_part(tmp_path: Path) -> None:
    path = trained_file(tmp_path / 'a')
    gone = dict(type='PretrainedToyModel', checkpoint=str(tmp_path / 'gone.pth'))
    with pytest.raises(FileNotFoundError, match=r'gone\.pth'):
        build(tmp_path / 'b', model=gone, load_from=path).train()


def test_evaluating_half_a_model_is_an_error(tmp_path: Path) -> None:
    state_dict = ToyModel().state_dict()
    del state_dict['layers.3.bias']
    torch.save(state_dict, tmp_path / 'a.pth')
    runner = build(tmp_path, load_from=str(tmp_path / 'a.pth'))
    with pytest.raises(CheckpointError, match=r'no values for 1 tensors: layers\.3\.bias'):
        runner.val()


def test_evaluating_as_another_model_is_an_error(tmp_path: Path) -> None:
    path = trained_file(tmp_path / 'a')
    changes = dict(model__type='SizedToyModel')
    with pytest.raises(CheckpointError, match=r'model\.type: checkpoint ToyModel, config Sized'):
        build(tmp_path / 'b', load_from=path, **changes).val()
    build(tmp_path / 'c', load_from=path, allow_mismatch=True, **changes).val()


def test_weights_loaded_by_hand_are_checked_before_they_are_tested(tmp_path: Path) -> None:
    path = trained_file(tmp_path / 'a')
    runner = build(tmp_path / 'b', model__type='SizedToyModel')
    runner.load_checkpoint(path)
    with pytest.raises(CheckpointError, match=r'model\.type: checkpoint ToyModel'):
        runner.val()
    content = load_file(path)
    content['meta']['dataset_meta']['classes'] = ('triangle', 'square', 'circle')
    torch.save(content, path)
    runner = build(tmp_path / 'c')
    runner.load_checkpoint(path)
    with pytest.raises(CheckpointError, match=r'has the classes triangle, .*: set load_from'):
        runner.val()


def test_random_weights_are_said(tmp_path: Path, caplog: Any) -> None:
    runner = build(tmp_path)
    runner.logger.addHandler(caplog.handler)
    runner.val()
    assert 'No checkpoint was loaded and nothing trained' in caplog.text
    caplog.clear()
    runner.train()
    runner.val()
    assert 'No checkpoint was loaded' not in caplog.text


@pytest.mark.parametrize('names', [('square', 'circle', 'triangle'), ('circle', 'square', 'x')])
def test_other_classes_are_not_resumed(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = trained_file(tmp_path / 'a')
    content = load_file(path)
    content['meta']['dataset_meta']['classes'] = names
    torch.save(content, path)
    with pytest.raises(CheckpointError, match='cannot be resumed: it was trained on the classes'):
        build(tmp_path / 'b', resume=True, load_from=path).train()


def test_evaluation_gives_what_training_saw(tmp_path: Path) -> None:
    runner = build(tmp_path / 'a', custom_hooks=[dict(type='EMAHook', momentum=0.1)])
    runner.train()
    history = ValidationHistory(runner.message_hub).entries
    best = max(history, key=lambda entry: entry['metrics']['toy/score'])
    changes: dict = dict(
        load_from=best['best']['best_ckpt'],
        custom_hooks=[dict(type='EMAHook', momentum=0.1)],
    )
    assert build(tmp_path / 'b', **changes).val() == best['metrics']
    del changes['custom_hooks']
    assert build(tmp_path / 'b', **changes).val() == best['metrics']


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f'touch {self.path}',)


@pytest.mark.parametrize('resume', [False, True, 'auto'])
def test_hostile_checkpoint_runs_nothing(tmp_path: Path, resume: Any) -> None:
    path = trained_file(tmp_path)
    content = load_file(path)
    torch.save({**content, 'extra': Hostile(tmp_path / 'flag')}, path)
    load_from = None if resume == 'auto' else path
    with pytest.raises(CheckpointError):
        build(tmp_path, resume=resume, load_from=load_from).train()
    assert not (tmp_path / 'flag').exists()


def test_loading_by_hand_is_kept(tmp_path: Path) -> None:
    """Weights loaded before train() are what training starts from."""
    path = trained_file(tmp_path / 'a')
    runner = build(tmp_path / 'b', optim_wrapper__optimizer__lr=0)
    runner.load_checkpoint(path)
    before = weights(runner)
    runner.train()
    assert torch.equal(weights(runner), before)


@pytest.mark.parametrize(
    ('cfg', 'kind'),
    [
        (dict(by_epoch=True, max_epochs=1), ResumableEpochLoop),
        (dict(type='EpochBasedTrainLoop', max_epochs=1), ResumableEpochLoop),
        (dict(by_epoch=False, max_iters=1), ResumableIterLoop),
        (dict(type='IterBasedTrainLoop', max_iters=1), ResumableIterLoop),
    ],
)
def test_loops_by_any_name(tmp_path: Path, cfg: dict, kind: type) -> None:
    runner = build(tmp_path)
    runner._train_loop = cfg
    assert type(runner.train_loop) is kind


def test_auto_scale_lr_counts_accumulated_batches(tmp_path: Path) -> None:
    scale = dict(enable=True, base_batch_size=16)
    runner = build(tmp_path, auto_scale_lr=scale, optim_wrapper__accumulative_counts=2)
    runner.train()
    # 4 images a batch, 2 batches a step, for a base of 16: half of 0.01; MultiStepLR then / 10.
    assert runner.optim_wrapper.get_lr()['lr'] == [pytest.approx(0.01 / 2 / 10)]


def test_accumulation_equals_a_large_batch(tmp_path: Path) -> None:
    changes: dict = dict(model__dropout=0.0, optim_wrapper__optimizer__type='SGD')
    large = build(tmp_path / 'a', train_dataloader__batch_size=4, **changes)
    small = build(
        tmp_path / 'b',
        train_dataloader__batch_size=2,
        optim_wrapper__accumulative_counts=2,
        **changes,
    )
    large.train()
    small.train()
    assert torch.allclose(weights(large), weights(small), atol=1e-6)


def test_steps_are_seeded(tmp_path: Path) -> None:
    """A run is a function of its seed, whatever was drawn before it."""
    results = []
    for seed in (3, 3, 4):
        runner = build(tmp_path / f'{len(results)}', randomness__seed=seed)
        state = {k: torch.zeros_like(v) for k, v in runner.model.state_dict().items()}
        runner.model.load_state_dict(state | {'layers.3.bias': torch.ones(1)})
        runner.has_loaded = True
        torch.rand(len(results) + 1)
        runner.train()
        results.append(weights(runner))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_threads_are_left_alone(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    build(tmp_path, train_dataloader__num_workers=1).train()
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(('chosen', 'expected'), [(None, '64'), ('7', '7')])
def test_compiled_operations_are_few(
    tmp_path: Path, monkeypatch: Any, chosen: str | None, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    name = 'ONEDNN_PRIMITIVE_CACHE_CAPACITY'
    monkeypatch.setenv(name, chosen or '')
    if chosen is None:
        monkeypatch.delenv(name)
    build(tmp_path)
    assert os.environ[name] == expected


def test_backend(monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert choose_backend(None) == choose_backend('nccl') == 'gloo'
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert choose_backend(None) == 'nccl'
    assert choose_backend('gloo') == 'gloo'


def test_launcher_without_its_variables(monkeypatch: Any) -> None:
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RuntimeError, match=r'RANK, WORLD_SIZE, LOCAL_RANK not set.*dist_train'):
        check_ranks('pytorch')
    for name, value in dict(RANK='2', WORLD_SIZE='2', LOCAL_RANK='0').items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RuntimeError, match='no process of a job has RANK=2, WORLD_SIZE=2'):
        check_ranks('pytorch')
    with pytest.raises(RuntimeError, match=r'MASTER_ADDR, MASTER_PORT not set.*dist_train'):
        init_cpu_process_group('pytorch')


def saved_config(path: Path) -> Config:
    return Config.fromstring(load_file(path)['meta']['cfg'], '.py')


def test_config_is_laid_out_once_for_all_checkpoints(tmp_path: Path, monkeypatch: Any) -> None:
    layouts = []
    real = Config.pretty_text.fget
    monkeypatch.setattr(Config, 'pretty_text', property(lambda c: layouts.append(1) or real(c)))
    runner = build(tmp_path)
    assert runner.epoch == 0  # builds the loop
    layouts.clear()
    without = dict(save_optimizer=False, save_param_scheduler=False)
    for i in range(3):
        runner.save_checkpoint(str(tmp_path), f'{i}.pth', **without)
    assert len(layouts) == 1
    assert saved_config(tmp_path / '0.pth').model.type == 'ToyModel'


class ConfigEditor(Hook):
    """Changes the config after the first epoch, as a hook that adapts the run may do."""

    def after_train_epoch(self, runner: Any) -> None:
        if runner.epoch == 1:
            runner.cfg.model.dropout = 0.25


def test_changed_config_is_saved_as_it_is(tmp_path: Path) -> None:
    runner = build(tmp_path, default_hooks__checkpoint__max_keep_ckpts=-1)
    runner.register_hook(ConfigEditor())
    runner.train()
    assert 'dropout' not in saved_config(tmp_path / 'epoch_1.pth').model
    assert saved_config(tmp_path / 'epoch_2.pth').model.dropout == 0.25
