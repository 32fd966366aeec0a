"""Several processes of one job on this machine, without torchrun."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

import torch

FORK = multiprocessing.get_context('fork')


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def _be_rank(
    rank: int, world_size: int, port: int, launcher: str, function: Callable, args: tuple
) -> None:
    torch.set_num_threads(1)
    names = {
        'pytorch': dict(RANK=rank, WORLD_SIZE=world_size, LOCAL_RANK=rank),
        'slurm': dict(SLURM_PROCID=rank, SLURM_NTASKS=world_size, SLURM_LOCALID=rank),
    }
    variables = names[launcher] | dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    os.environ.update({name: str(value) for name, value in variables.items()})
    function(rank, *args)
    torch.distributed.destroy_process_group()


def start_ranks(
    world_size: int, function: Callable, *args: Any, launcher: str = 'pytorch'
) -> list[BaseProcess]:
    """Start processes that run ``function(rank, *args)``, with the launcher's variables set."""
    port = free_port()
    ranks: list[BaseProcess] = [
        FORK.Process(target=_be_rank, args=(rank, world_size, port, launcher, function, args))
        for rank in range(world_size)
    ]
    for process in ranks:
        process.start()
    return ranks


def run_ranks(
    world_size: int, function: Callable, *args: Any, launcher: str = 'pytorch', limit: float = 120
) -> None:
    """Run them to the end, which has to be a good one on every rank."""
    ranks = start_ranks(world_size, function, *args, launcher=launcher)
    for process in ranks:
        process.join(limit)
    for process in ranks:
        process.kill()
    assert [process.exitcode for process in ranks] == [0] * world_size
