"""Overrides that lead nowhere are errors."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmdetr.config.options import apply_cfg_options, read_config
from mmdetr.config.schema import RunConfig


def config() -> Config:
    return Config(
        dict(
            model=dict(type='DETR', bbox_head=dict(type='DETRHead', encoder_pos='none')),
            train_cfg=dict(max_epochs=3, val_interval=1),
            optim_wrapper=dict(type='OptimWrapper', clip_grad=None),
            default_hooks=dict(checkpoint=dict(interval=1)),
            train_pipeline=[dict(type='A', prob=0.5), dict(type='B')],
        )
    )


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('model.bbox_head.encoder_pos', 'input'),
        ('model.bbox_head.decoder_pos', 'none'),  # left at its default by the config
        ('model.bbox_head.criterion.assigner.type', 'A'),
        ('default_hooks.logger.interval', 5),
        ('optim_wrapper.clip_grad.max_norm', 0.1),
        ('train_pipeline.0.prob', 0.1),
        ('load_from', 'a.pth'),
        ('find_unused_parameters', True),
        ('auto_scale_lr.enable', True),
    ],
)
def test_accepted(key: str, value: Any) -> None:
    cfg = config()
    apply_cfg_options(cfg, {key: value})
    place: Any = cfg
    for part in key.split('.'):
        place = place[int(part)] if part.isdigit() else place[part]
    assert place == value


@pytest.mark.parametrize(
    ('key', 'hint'),
    [
        ('modle.bbox_head.num_classes', r"no 'modle' there; did you mean model"),
        ('train_cfg.max_epoch', 'did you mean max_epochs'),
        ('default_hooks.checkpint.interval', 'did you mean checkpoint'),
        ('train_pipeline.2.prob', 'train_pipeline has entries 0 to 1'),
        ('train_pipeline.prob', 'train_pipeline has entries 0 to 1'),
        ('laod_from', 'did you mean load_from'),
        ('zzz', r"no 'zzz' there$"),
    ],
)
def test_refused(key: str, hint: str) -> None:
    with pytest.raises(KeyError) as caught:
        apply_cfg_options(config(), {key: 1})
    message = caught.value.args[0]
    assert message.startswith(f'--cfg-options {key}: ')
    assert re.search(hint, message)


def test_key_into_a_number() -> None:
    with pytest.raises(TypeError, match=r'train_cfg\.max_epochs is 3, nothing can be set in it'):
        apply_cfg_options(config(), {'train_cfg.max_epochs.x': 1})


@pytest.mark.parametrize(
    ('key', 'hint'),
    [
        ('data_root', r'Set train_dataloader\.dataset\.data_root and val_.*data_root instead'),
        ('pipeline.0.prob', r'Set train_dataloader\.dataset\.pipeline instead'),
        ('max_epochs', r'Set train_cfg\.max_epochs instead'),
    ],
)
def test_a_variable_without_effect(key: str, hint: str) -> None:
    loader = dict(dataset=dict(data_root='data/', pipeline=[dict(type='A', prob=0.5)]))
    content = dict(
        data_root='data/',
        pipeline=[dict(type='A', prob=0.5)],
        max_epochs=3,
        own=3,
        train_cfg=dict(max_epochs=3, val_interval=3),
        train_dataloader=loader,
        val_dataloader=dict(dataset=dict(data_root='data/')),
    )
    with pytest.raises(KeyError) as caught:
        apply_cfg_options(Config(content), {key: 1})
    assert re.search(hint, caught.value.args[0])
    cfg = Config(content)
    apply_cfg_options(cfg, {'own': 1})  # perhaps somebody's own code reads it
    assert cfg.own == 1


def test_nothing_to_apply() -> None:
    cfg = config()
    apply_cfg_options(cfg, None)
    assert cfg.to_dict() == config().to_dict()


@pytest.mark.parametrize(
    ('key', 'hint'),
    [
        ('optim_wraper', 'optim_wrapper'),
        ('train_cgf', 'train_cfg'),
        ('custom_hook', 'custom_hooks'),
    ],
)
def test_misspelt_setting_in_a_file(tmp_path: Path, key: str, hint: str) -> None:
    path = tmp_path / 'child.py'
    path.write_text(f'optim_wrapper = dict()\n{key} = dict(max_epochs=1)\n')
    with pytest.raises(SystemExit) as caught:
        read_config(str(path), None)
    assert str(caught.value).startswith(
        f'error: {path}: {key!r} is no setting; did you mean {hint}'
    )


def test_variables_of_a_config_are_its_own_affair(tmp_path: Path) -> None:
    path = tmp_path / 'child.py'
    path.write_text('data_root = 1\ntrain_pipeline = []\nmax_epochs = 3\nmy_lr = 1e-4\n')
    assert read_config(str(path), {'load_from': 'a.pth'}).load_from == 'a.pth'


def test_every_setting_of_the_runner_is_known() -> None:
    """And has a type; ``cfg`` is the config itself."""
    settings = set(inspect.signature(Runner).parameters) - {'cfg'}
    assert settings <= set(RunConfig.__annotations__)
