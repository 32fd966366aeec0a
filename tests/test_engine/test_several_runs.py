"""Runs in one process share nothing, and one work directory takes one training at a time."""

import gc
import importlib
import logging
import os
import pkgutil
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.visualization import Visualizer

import mmdetr
from mmdetr.engine import DetectionRunner
from mmdetr.engine.lock import WorkDirInUseError, work_dir_lock
from tests.helpers.interrupted import train
from tests.helpers.ranks import FORK
from tests.helpers.toy import toy_config, weights


def notebook_config(work_dir: Path, **changes: Any) -> Any:
    """A config with the names that all runs of a notebook have in common."""
    visualizer = dict(
        type='Visualizer', name='visualizer', vis_backends=[dict(type='LocalVisBackend')]
    )
    return toy_config(work_dir, experiment_name='same', visualizer=visualizer, **changes)


def test_each_run_logs_into_its_own_folder(tmp_path: Path) -> None:
    for name in ('first', 'second'):
        DetectionRunner.from_cfg(notebook_config(tmp_path / name)).train()
    for name in ('first', 'second'):
        (scalars,) = (tmp_path / name).glob('*/vis_data/scalars.json')
        (log,) = (tmp_path / name).glob('*/*.log')
        # 4 epochs of 5 iterations, logged every second one, and 4 validations.
        assert len(scalars.read_text().splitlines()) == 12
        assert log.read_text().count('toy/score: ') == 4


def test_runs_built_before_the_first_is_trained(tmp_path: Path) -> None:
    """Each ends as if it were alone, and writes where it belongs."""
    expected = train(tmp_path / 'alone')
    runners = [DetectionRunner.from_cfg(notebook_config(tmp_path / n)) for n in ('a', 'b')]
    init_default_scope('mmengine')
    for runner in runners:
        runner.train()
        assert torch.equal(weights(runner), weights(expected))
        assert MMLogger.get_current_instance() is runner.logger
        assert len(runner.message_hub.get_scalar('train/loss').data[0]) == 20
        (scalars,) = Path(runner.work_dir).glob('*/vis_data/scalars.json')
        assert len(scalars.read_text().splitlines()) == 12


def test_switches_of_one_run_do_not_stay_on(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.backends.cudnn, 'benchmark', False)
    DetectionRunner.from_cfg(
        toy_config(
            tmp_path / 'a', randomness__deterministic=True, env_cfg=dict(cudnn_benchmark=True)
        )
    )
    assert torch.are_deterministic_algorithms_enabled()
    DetectionRunner.from_cfg(toy_config(tmp_path / 'b'))
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.deterministic


def process_state() -> dict[str, Any]:
    """What of a process outlives a run."""
    gc.collect()
    files = [os.readlink(file) for file in Path('/proc/self/fd').iterdir() if file.is_symlink()]
    shared: list[Any] = [MMLogger, MessageHub, Visualizer]
    return dict(
        start_method=torch.multiprocessing.get_start_method(allow_none=True),
        threads=(torch.get_num_threads(), cv2.getNumThreads(), threading.active_count()),
        variables=dict(os.environ),
        warnings=list(warnings.filters),
        signals={number: signal.getsignal(number) for number in signal.Signals},
        cudnn=(torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        deterministic=torch.are_deterministic_algorithms_enabled(),
        numbers=(torch.get_default_dtype(), torch.get_float32_matmul_precision()),
        gradients=(torch.is_grad_enabled(), torch.is_anomaly_enabled()),
        root_log=(logging.root.level, list(logging.root.handlers)),
        log_files=sorted(file for file in files if file.endswith('.log')),
        instances=[len(manager._instance_dict) for manager in shared],
        collector=(gc.isenabled(), gc.get_threshold()),
        folder=os.getcwd(),
        path=list(sys.path),
    )


@pytest.mark.skipif(not Path('/proc/self/fd').is_dir(), reason='needs /proc')
def test_nothing_of_a_run_is_left_in_the_process(tmp_path: Path) -> None:
    """Two trainings as unlike as can be; the second with a seed that does not follow the first."""

    def seed_of(name: str, **changes: Any) -> int | None:
        runner = DetectionRunner.from_cfg(notebook_config(tmp_path / name, **changes))
        runner.train()
        return runner.seed

    other: dict[str, Any] = dict(
        env_cfg=dict(
            cudnn_benchmark=True, mp_cfg=dict(mp_start_method='spawn', opencv_num_threads=3)
        ),
        custom_hooks=[dict(type='EMAHook')],
        log_level='DEBUG',
        randomness=dict(seed=7, deterministic=True),
    )
    seeds = [seed_of('plain', randomness=dict(seed=None))]
    before = process_state()
    for name in ('first', 'second'):
        seed_of(f'{name}-other', **other)
        seeds.append(seed_of(name, randomness=dict(seed=None)))
    after = process_state()
    assert {
        name: (before[name], after[name]) for name in after if before[name] != after[name]
    } == {}
    assert len(set(seeds)) == 3


class Nested(Hook):
    """Begins a second training in the midst of the first."""

    def before_train_epoch(self, runner: Any) -> None:
        other = DetectionRunner.from_cfg(toy_config(Path(runner.work_dir)))
        with pytest.raises(WorkDirInUseError, match=f'this process \\({os.getpid()}\\)'):
            other.train()


def test_second_training_in_the_same_process_and_folder(tmp_path: Path) -> None:
    runner = DetectionRunner.from_cfg(toy_config(tmp_path, train_cfg__max_epochs=1))
    runner.register_hook(Nested())
    runner.train()
    train(tmp_path, train_cfg__max_epochs=2)  # the first gave the folder back


def _hold(folder: str, held: Any) -> None:
    with work_dir_lock(folder, logging.getLogger()):
        held.set()
        signal.pause()


def test_training_of_another_process(tmp_path: Path) -> None:
    """It is named while it lives; once it is killed, its lock counts no more."""
    held = FORK.Event()
    other = FORK.Process(target=_hold, args=(str(tmp_path), held), daemon=True)
    other.start()
    assert held.wait(120)
    with pytest.raises(WorkDirInUseError, match=f'process {other.pid} on .*another work_dir'):
        train(tmp_path)
    assert not list(tmp_path.glob('*.pth'))
    other.kill()
    other.join()
    assert train(tmp_path, train_cfg__max_epochs=1).epoch == 1


def test_refused_run_leaves_the_config_of_the_training(tmp_path: Path) -> None:
    def named(**changes: Any) -> Any:
        config = toy_config(tmp_path, **changes)
        object.__setattr__(config, '_filename', 'named.py')  # as if it was read from there
        return config

    DetectionRunner.from_cfg(named()).train()
    before = (tmp_path / 'named.py').read_text()
    refused = named(resume='auto', optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)))
    with pytest.raises(RuntimeError, match='SGD'):
        DetectionRunner.from_cfg(refused).train()
    assert (tmp_path / 'named.py').read_text() == before


def test_python_without_find_loader(monkeypatch: Any) -> None:
    monkeypatch.delattr(pkgutil, 'find_loader', raising=False)  # as in Python 3.14
    importlib.reload(mmdetr)
    settings = dict(optimizer=dict(type='SGD', lr=0.1), paramwise_cfg=dict(bias_lr_mult=2))
    wrapper = build_optim_wrapper(torch.nn.Linear(2, 2), settings)
    assert [group['lr'] for group in wrapper.optimizer.param_groups] == [0.1, 0.2]
