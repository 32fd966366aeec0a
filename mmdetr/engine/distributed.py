"""torch.distributed on machines without a GPU, and in words where a rank is lost."""

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

_RANK_VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}


def check_ranks(launcher: str) -> None:
    """Look whether the launcher has said which process of how many this is, and has a GPU for it.

    Raises:
        RuntimeError: It has not; the message names what is missing.
    """
    names = _RANK_VARIABLES[launcher]
    _check_set(launcher, names)
    rank, size, local = (os.environ[name] for name in names)
    if not (rank.isdecimal() and size.isdecimal() and local.isdecimal() and int(rank) < int(size)):
        stated = ', '.join(f'{name}={os.environ[name]}' for name in names)
        raise RuntimeError(f'launcher {launcher!r}: no process of a job has {stated}')
    if torch.cuda.is_available() and int(local) >= torch.cuda.device_count():
        raise RuntimeError(
            f'launcher {launcher!r}: {names[2]}={local}, but there are '
            f'{torch.cuda.device_count()} GPUs: start one process for each'
        )


def _check_set(launcher: str, names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise RuntimeError(
            f'launcher {launcher!r}: {", ".join(missing)} not set; start with '
            'tools/dist_train.sh or tools/slurm_train.sh'
        )


def init_cpu_process_group(launcher: str, timeout: int | None = None) -> None:
    """Join the process group over gloo.

    Args:
        launcher: ``pytorch``, ``slurm`` or ``mpi``.
        timeout: Seconds after which waiting for another rank fails; torch's default if None.

    Raises:
        RuntimeError: The address that all ranks meet at is missing.
    """
    for source, target in zip(_RANK_VARIABLES[launcher], _RANK_VARIABLES['pytorch'], strict=True):
        os.environ[target] = os.environ[source]
    _check_set(launcher, ('MASTER_ADDR', 'MASTER_PORT'))
    limit = None if timeout is None else datetime.timedelta(seconds=timeout)
    dist.init_process_group('gloo', timeout=limit)


def choose_backend(configured: str | None) -> str:
    """Choose nccl for GPUs unless the config says otherwise, gloo without one."""
    if not torch.cuda.is_available():
        return 'gloo'
    return configured or 'nccl'


class LostRankError(RuntimeError):
    """Another process of the job has ended or does not answer."""


@contextmanager
def explain_lost_rank() -> Iterator[None]:
    """Say in words what the errors of torch.distributed mean when a rank is lost.

    Raises:
        LostRankError: In place of such an error.
    """
    try:
        yield
    except RuntimeError as error:
        if not dist.is_initialized() or isinstance(error, LostRankError):
            raise
        # The errors of gloo have no class of their own.
        if not isinstance(error, dist.DistError) and 'gloo' not in str(error):
            raise
        raise LostRankError(
            f'rank {dist.get_rank()} of {dist.get_world_size()}: another rank has ended or has not '
            'answered within the limit (env_cfg.dist_cfg.timeout); the output of that rank tells '
            'why. --resume continues from the last checkpoint'
        ) from error
