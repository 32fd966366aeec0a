"""Runs in one process share nothing, and one work directory takes one training at a time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mmdetr.engine import DetectionRunner
from mmdetr.engine.lock import WorkDirInUseError
from tests.helpers.interrupted import train
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


HOLD = """
import sys, time
from logging import getLogger
from mmdetr.engine.lock import work_dir_lock
with work_dir_lock(sys.argv[1], getLogger()):
    print('held', flush=True)
    time.sleep(60)
"""


def test_training_of_another_process(tmp_path: Path) -> None:
    """It is named while it lives; once it is killed, its lock counts no more."""
    with subprocess.Popen(
        [sys.executable, '-c', HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == 'held\n'
        with pytest.raises(WorkDirInUseError, match=f'process {other.pid} on .*another work_dir'):
            train(tmp_path)
        assert not list(tmp_path.glob('*.pth'))
        other.send_signal(signal.SIGKILL)
        other.wait()
    start = time.monotonic()
    assert train(tmp_path, train_cfg__max_epochs=1).epoch == 1
    assert time.monotonic() - start < 30


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


PYTHON_3_14 = """
import pkgutil
if hasattr(pkgutil, 'find_loader'):
    del pkgutil.find_loader
import mmdetr
from torch import nn
from mmengine.optim import build_optim_wrapper
wrapper = build_optim_wrapper(nn.Linear(2, 2), dict(
    optimizer=dict(type='SGD', lr=0.1), paramwise_cfg=dict(bias_lr_mult=2)))
print([group['lr'] for group in wrapper.optimizer.param_groups])
"""


def test_python_without_find_loader() -> None:
    done = subprocess.run(
        [sys.executable, '-c', PYTHON_3_14], capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith('[0.1, 0.2]\n'), done.stderr
