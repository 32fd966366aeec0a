"""Two processes over gloo do what one does."""

import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from mmdetr.checkpoint import load_file
from mmdetr.engine import DetectionRunner

from .test_resume import Interrupt, InterruptedRunError
from .toy import toy_config

FORK = multiprocessing.get_context('fork')


def _run_rank(rank: int, port: int, launcher: str, config: Any, interrupt: int | None) -> None:
    torch.set_num_threads(1)
    names = {
        'pytorch': dict(RANK=rank, WORLD_SIZE=2, LOCAL_RANK=rank),
        'slurm': dict(SLURM_PROCID=rank, SLURM_NTASKS=2, SLURM_LOCALID=rank),
    }
    variables = names[launcher] | dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    os.environ.update({name: str(value) for name, value in variables.items()})
    config.launcher = launcher
    runner = DetectionRunner.from_cfg(config)
    if interrupt is None:
        runner.train()
    else:
        runner.register_hook(Interrupt('before_train_iter', interrupt))
        with pytest.raises(InterruptedRunError):
            runner.train()
    torch.distributed.destroy_process_group()


def train_on_two(
    work_dir: Path, interrupt: int | None = None, launcher: str = 'pytorch', **changes: Any
) -> dict:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    config = toy_config(work_dir, **changes)
    ranks = [
        FORK.Process(target=_run_rank, args=(rank, port, launcher, config, interrupt))
        for rank in (0, 1)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(60)
        process.kill()
    assert [process.exitcode for process in ranks] == [0, 0]
    return {} if interrupt is not None else load_file(work_dir / 'epoch_4.pth')


def difference(first: dict, second: dict) -> float:
    return max(
        float((first['state_dict'][key] - second['state_dict'][key]).abs().max())
        for key in first['state_dict']
    )


def test_two_processes_equal_one(tmp_path: Path) -> None:
    changes: dict = dict(model__dropout=0.0, optim_wrapper__optimizer__type='SGD')
    DetectionRunner.from_cfg(
        toy_config(tmp_path / 'one', train_dataloader__batch_size=4, **changes)
    ).train()
    two = train_on_two(tmp_path / 'two', train_dataloader__batch_size=2, **changes)
    one = load_file(tmp_path / 'one' / 'epoch_4.pth')
    assert difference(one, two) < 1e-6
    assert one['message_hub']['runtime_info']['best_score'] == pytest.approx(
        two['message_hub']['runtime_info']['best_score'], abs=1e-6
    )


def test_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    """With dropout, augmentation, a drawn seed, and gradients half accumulated on each rank."""
    changes: dict = dict(
        optim_wrapper__accumulative_counts=2,
        train_dataloader__batch_size=2,
        train_dataloader__dataset__length=20,
        randomness=dict(seed=8, diff_rank_seed=True),
    )
    whole = train_on_two(tmp_path / 'whole', **changes)
    train_on_two(tmp_path / 'broken', interrupt=7, **changes)
    changes['randomness'] = dict(seed=None, diff_rank_seed=True)
    resumed = train_on_two(tmp_path / 'broken', resume='auto', **changes)
    assert load_file(tmp_path / 'whole' / 'epoch_3.pth')['gradients']
    # The mean over ranks is taken of the parts instead of the whole: the last bit may differ.
    assert difference(whole, resumed) < 1e-6


def test_slurm_variables(tmp_path: Path) -> None:
    content = train_on_two(tmp_path, launcher='slurm', train_cfg__max_epochs=4)
    assert content['meta']['epoch'] == 4
