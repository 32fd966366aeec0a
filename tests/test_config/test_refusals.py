"""What a user can mend is one line with the key; an error in code of one's own keeps its trace."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmdetr.apis import init_detector
from mmdetr.config.refusals import explain_refusal, find_keys, refusals_in_one_line
from mmdetr.engine import DetectionRunner
from mmdetr.registry import MODELS
from tests.helpers.toy import ToyModel, toy_config

pytestmark = pytest.mark.filterwarnings('ignore:.*instance named of')

OWN = """
import torch
from mmdetr.utils.arguments import check_at_least
from tests.helpers.toy import ToyModel

class OwnModel(ToyModel):
    def __init__(self, fault=None):
        super().__init__()
        self.fault = fault
        if fault == 'refuses':
            raise ValueError('this model does not like it')
        if fault == 'misuses torch':
            torch.nn.Linear(2, 'three')
        if fault == 'is wrong':
            len(5)

    def forward(self, *args, **kwargs):
        if self.fault == 'raises in training':
            raise ValueError('only here')
        if self.fault == 'misuses mmdetr in training':
            check_at_least(2, 'OwnModel', number=1)
        return super().forward(*args, **kwargs)
"""


@pytest.fixture
def own_model() -> Any:
    """A model in a module that belongs to none of the packages."""
    module = types.ModuleType('somebodys_module')
    sys.modules[module.__name__] = module
    exec(compile(OWN, 'somebodys_module.py', 'exec'), module.__dict__)
    MODELS.register_module(module=module.OwnModel)
    yield module.OwnModel
    MODELS.module_dict.pop('OwnModel')
    del sys.modules[module.__name__]


def explained(config: Config) -> str | None:
    try:
        DetectionRunner.from_cfg(config).train()
    except Exception as error:
        return explain_refusal(error, config)
    raise AssertionError('nothing was refused')


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        (dict(optim_wrapper__optimizer__betas=(2, 3)), 'optim_wrapper.optimizer (AdamW): Invalid'),
        (
            dict(
                param_scheduler=[
                    dict(type='ConstantLR', end=3),
                    dict(type='LinearLR', begin=5, end=5),
                ]
            ),
            'param_scheduler.1 (LinearLR): end should be larger than begin',
        ),
        (
            dict(default_hooks__checkpoint__filename_tmpl='same.pth'),
            'default_hooks.checkpoint (CheckpointHook): CheckpointHook: filename_tmpl=',
        ),
        (dict(train_cfg__val_interval=0), 'train_cfg (ResumableEpochLoop): val_interval of '),
        (dict(val_evaluator=dict(type='CocoMetric', max_dets=(3, 2, 1))), 'val_evaluator (CocoM'),
        (dict(val_cfg=None), 'val_dataloader, val_cfg, and val_evaluator should be'),
        (dict(launcher='slurm'), "launcher 'slurm': SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID not"),
    ],
    ids=['optimiser', 'schedule', 'hook', 'loop', 'metric', 'runner', 'launcher'],
)
def test_arguments_that_constructors_refuse(
    tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    explanation = explained(toy_config(tmp_path, **changes))
    assert explanation is not None
    assert explanation.startswith(text)
    assert '\n' not in explanation


@pytest.mark.parametrize(
    ('fault', 'text'),
    [
        ('refuses', 'model (OwnModel): this model does not like it (ValueError in somebodys_mod'),
        ('misuses torch', 'model (OwnModel): '),
        ('is wrong', None),
        ('raises in training', None),
        ('misuses mmdetr in training', None),
    ],
)
def test_code_of_ones_own(tmp_path: Path, own_model: type, fault: str, text: str | None) -> None:
    config = toy_config(tmp_path, model=dict(type='OwnModel', fault=fault), val_cfg=None)
    config.pop('val_dataloader'), config.pop('val_evaluator')
    explanation = explained(config)
    assert explanation is text is None or explanation.startswith(text)
    with pytest.raises(SystemExit if text else Exception) as caught, refusals_in_one_line(config):
        DetectionRunner.from_cfg(config).train()
    assert isinstance(caught.value, SystemExit) == (text is not None)


def test_errors_of_workers_are_one_line() -> None:
    """torch puts the whole trace of a worker into the message."""
    from mmdetr.datasets.transforms import UnreadableImageError

    text = (
        'Caught UnreadableImageError in DataLoader worker process 0.\nOriginal Traceback (most '
        'recent call last):\n  File "a.py", line 3, in f\n    g()\n'
        'mmdetr.utils.image_decoding.UnreadableImageError: a.jpg: is no image\n'
    )
    assert explain_refusal(UnreadableImageError(text)) == 'a.jpg: is no image'


def test_keys_of_a_component() -> None:
    pipeline = [dict(type='A', prob=0.5), dict(type='A', prob=0.7), dict(type='B')]
    config = dict(model=dict(type='A'), one=dict(pipeline=pipeline), two=dict(pipeline=pipeline))
    assert find_keys(dict(type='A', prob=0.7), config) == ['one.pipeline.1', 'two.pipeline.1']
    # As whoever builds it may have added to it.
    added = dict(type='A', prob=0.7, params=[torch.zeros(2)])
    assert find_keys(added, config) == ['one.pipeline.1', 'two.pipeline.1']
    assert find_keys(dict(type='C'), config) == []
    assert find_keys(dict(type='C'), None) == []


def test_devices_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / 'empty.py'
    path.touch()
    for device in ('foo', 'cuda:99', 'cpu:x'):
        with pytest.raises(ValueError, match=rf"^device '{device}' cannot be used: .*$"):
            init_detector(path, device=device)
    with pytest.raises(ValueError, match=r'the config has no model: .*empty\.py'):
        init_detector(path, device='cpu')


def test_toy_model_is_refused_by_nobody(tmp_path: Path) -> None:
    assert isinstance(DetectionRunner.from_cfg(toy_config(tmp_path)).model, ToyModel)
