"""What we rely on in mmengine beyond its documentation, looked for in the installed version.

requirements/runtime.txt bounds mmengine to the versions that this passes with. Before raising the
bound: run the tests with the new version, read the changes of what fails here, and mend the place
of ours that the message names.
"""

import inspect
import pkgutil
from pathlib import Path
from typing import Any

import mmengine
import pytest
import torch
from mmengine.hooks import CheckpointHook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import MultiStepLR, OptimWrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from packaging.requirements import Requirement
from torch import nn

from tests.helpers.toy import toy_config

ROOT = Path(__file__).parents[2]
RUNNER = 'mmdetr/engine/runner.py'
LOOPS = 'mmdetr/engine/loops.py'
RESTORE = 'mmdetr/engine/resume/restore.py'
STATE = 'mmdetr/engine/resume/state.py'
SAVE = 'mmdetr/engine/resume/save.py'
NARRATED = 'mmdetr/engine/narrated_runner.py'
CHECKPOINT_HOOK = 'mmdetr/engine/hooks/checkpoint_hook.py'
GUARD = 'mmdetr/engine/hooks/non_finite_guard_hook.py'

LOOP_ARGUMENTS = 'self runner dataloader {} val_begin val_interval dynamic_intervals'
# What we override or call with these arguments, and where.
SIGNATURES = [
    ('mmengine.runner:Runner.from_cfg', 'cfg', RUNNER),
    ('mmengine.runner:Runner.setup_env', 'self env_cfg', RUNNER),
    ('mmengine.runner:Runner.wrap_model', 'self model_wrapper_cfg model', RUNNER),
    ('mmengine.runner:Runner.build_train_loop', 'self loop', RUNNER),
    ('mmengine.runner:Runner.build_optim_wrapper', 'self optim_wrapper', RESTORE),
    ('mmengine.runner:Runner.build_param_scheduler', 'self scheduler', RESTORE),
    ('mmengine.runner:Runner.register_default_hooks', 'self hooks', RUNNER),
    ('mmengine.runner:Runner.scale_lr', 'self optim_wrapper auto_scale_lr', RUNNER),
    ('mmengine.runner:Runner.set_randomness', 'self seed diff_rank_seed deterministic', RESTORE),
    ('mmengine.runner:Runner.train', 'self', RUNNER),
    ('mmengine.runner:Runner.val', 'self', RUNNER),
    ('mmengine.runner:Runner.test', 'self', RUNNER),
    ('mmengine.runner:Runner._init_model_weights', 'self', RUNNER),
    ('mmengine.runner:Runner.load_or_resume', 'self', RUNNER),
    ('mmengine.runner:Runner.build_logger', 'self log_level log_file kwargs', NARRATED),
    ('mmengine.runner:Runner.register_hooks', 'self default_hooks custom_hooks', NARRATED),
    ('mmengine.runner:Runner.build_model', 'self model', NARRATED),
    ('mmengine.runner:Runner.build_val_loop', 'self loop', NARRATED),
    ('mmengine.runner:Runner.build_test_loop', 'self loop', NARRATED),
    (
        'mmengine.runner:Runner.load_checkpoint',
        'self filename map_location strict revise_keys',
        RUNNER,
    ),
    (
        'mmengine.runner:Runner.resume',
        'self filename resume_optimizer resume_param_scheduler map_location',
        RUNNER,
    ),
    (
        'mmengine.runner:Runner.save_checkpoint',
        'self out_dir filename file_client_args save_optimizer save_param_scheduler meta by_epoch '
        'backend_args',
        RUNNER,
    ),
    ('mmengine.runner:BaseLoop.__init__', 'self runner dataloader', LOOPS),
    (
        'mmengine.runner:EpochBasedTrainLoop.__init__',
        LOOP_ARGUMENTS.format('max_epochs'),
        LOOPS,
    ),
    ('mmengine.runner:EpochBasedTrainLoop.run_epoch', 'self', LOOPS),
    ('mmengine.runner:EpochBasedTrainLoop.run_iter', 'self idx data_batch', LOOPS),
    ('mmengine.runner:EpochBasedTrainLoop._decide_current_val_interval', 'self', LOOPS),
    ('mmengine.runner:IterBasedTrainLoop.__init__', LOOP_ARGUMENTS.format('max_iters'), LOOPS),
    ('mmengine.runner:IterBasedTrainLoop.run_iter', 'self data_batch', LOOPS),
    ('mmengine.runner:IterBasedTrainLoop._decide_current_val_interval', 'self', LOOPS),
    (
        'mmengine.runner.utils:calc_dynamic_intervals',
        'start_interval dynamic_interval_list',
        LOOPS,
    ),
    ('mmengine.runner:load_state_dict', 'module state_dict strict logger', RESTORE),
    ('mmengine.runner:weights_to_cpu', 'state_dict', SAVE),
    ('mmengine.utils:apply_to', 'data expr apply_func', SAVE),
    ('mmengine.hooks:CheckpointHook.before_train', 'self runner', CHECKPOINT_HOOK),
    (
        'mmengine.hooks:CheckpointHook._save_checkpoint_with_step',
        'self runner step meta',
        CHECKPOINT_HOOK,
    ),
    ('mmengine.hooks:CheckpointHook.after_val_epoch', 'self runner metrics', CHECKPOINT_HOOK),
    ('mmengine.hooks:CheckpointHook._init_rule', 'self rules key_indicators', CHECKPOINT_HOOK),
    ('mmengine.optim:OptimWrapper.should_update', 'self', STATE),
    (
        'mmengine.logging:HistoryBuffer.__init__',
        'self log_history count_history max_length',
        STATE,
    ),
]


def test_installed_version_is_within_the_bound() -> None:
    """That of the fork onedl-mmengine, which counts on from mmengine's, as well."""
    lines = (ROOT / 'requirements' / 'runtime.txt').read_text().splitlines()
    bound = next(Requirement(line) for line in lines if line.startswith('mmengine'))
    assert bound.specifier.contains(mmengine.__version__)
    assert any(each.operator == '<' for each in bound.specifier), 'no upper bound'


def advice(what: str, place: str) -> str:
    return f'{what}. Look at {place}, then see the head of {Path(__file__).relative_to(ROOT)}'


@pytest.mark.parametrize(('path', 'arguments', 'place'), SIGNATURES, ids=lambda value: None)
def test_signature(path: str, arguments: str, place: str) -> None:
    """More arguments at the end do no harm where they may be left out."""
    try:
        found = inspect.signature(pkgutil.resolve_name(path)).parameters
    except (AttributeError, ImportError):
        pytest.fail(advice(f'{path} is gone', place))
    expected = arguments.split()
    needed = [
        name
        for i, (name, parameter) in enumerate(found.items())
        if i < len(expected) or parameter.default is parameter.empty
    ]
    assert needed == expected, advice(
        f'{path} takes {" ".join(found)}, expected {arguments}', place
    )


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    config = toy_config(tmp_path, train_cfg__max_epochs=1)
    config.default_hooks.checkpoint = None
    return Runner.from_cfg(config)


def assert_has(thing: Any, names: str, place: str) -> None:
    missing = [name for name in names.split() if not hasattr(thing, name)]
    assert not missing, advice(f'{type(thing).__name__} has no {", ".join(missing)}', place)


def test_attributes_of_the_runner(runner: Runner) -> None:
    # EMAHook asks for the first, which our resume() sets.
    assert_has(runner, '_resume optim_wrapper param_schedulers visualizer', RUNNER)
    assert_has(runner, 'message_hub logger seed rank world_size deterministic', RUNNER)
    assert '_resume' in inspect.getsource(pkgutil.resolve_name('mmengine.hooks:EMAHook'))


def test_attributes_of_the_loop(runner: Runner) -> None:
    names = '_epoch _iter _max_epochs val_begin val_interval stop_training dataloader'
    assert_has(runner.train_loop, names, LOOPS)


def test_our_iteration_loop_sets_what_mmengines_does(tmp_path: Path) -> None:
    """It calls the constructor of BaseLoop alone."""
    from mmdetr.engine import DetectionRunner

    config = toy_config(tmp_path, by_epoch=False)
    ours = DetectionRunner.from_cfg(config).train_loop
    theirs = IterBasedTrainLoop(ours.runner, ours.dataloader, max_iters=20, val_interval=5)
    # What only run() reads, which ours replaces; the second is of the fork onedl-mmengine.
    left_out = {'dataloader_iterator', 'fast_forward_on_resume'}
    expected = {k: v for k, v in vars(theirs).items() if k not in left_out}
    assert vars(ours) == expected, advice('IterBasedTrainLoop sets something else', LOOPS)


def test_default_hooks_that_none_turns_off(tmp_path: Path) -> None:
    """mmengine fails on None for any other name."""
    from mmdetr.engine.runner import _MMENGINE_HOOKS

    config = toy_config(tmp_path)
    config.default_hooks = dict.fromkeys(_MMENGINE_HOOKS)
    assert Runner.from_cfg(config).hooks == [], advice('mmengine has other default hooks', RUNNER)


def test_attributes_of_the_checkpoint_hook() -> None:
    names = (
        'args out_dir interval by_epoch save_optimizer save_param_scheduler max_keep_ckpts '
        'filename_tmpl save_best rules key_indicators init_value_map is_better_than last_ckpt '
        'file_client_args backend_args published_keys'
    )
    assert_has(CheckpointHook(save_best='auto'), names, CHECKPOINT_HOOK)


def test_attributes_of_the_optimiser_wrapper() -> None:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1)
    wrapper = OptimWrapper(optimizer, accumulative_counts=3, clip_grad=dict(max_norm=1))
    assert_has(wrapper, 'optimizer clip_grad_kwargs clip_func grad_name message_hub', GUARD)
    assert wrapper._accumulative_counts == 3, advice('no accumulative counts', RUNNER)
    assert wrapper.clip_func is nn.utils.clip_grad_norm_, advice('clips otherwise', GUARD)


def test_state_of_a_schedule() -> None:
    schedule = MultiStepLR(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1), [3], end=7)
    state = schedule.state_dict()
    assert (state['_global_step'], state['end'], schedule.end) == (0, 7, 7), advice('state', STATE)


def test_message_hub() -> None:
    hub = MessageHub('contract')
    assert_has(hub, 'log_scalars runtime_info', STATE)
    assert {'log_scalars', 'runtime_info'} <= set(hub.state_dict()), advice('state', STATE)
    assert_has(HistoryBuffer(), 'data max_length', STATE)
