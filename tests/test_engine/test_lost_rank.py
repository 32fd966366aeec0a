"""A rank that is gone ends the others, also where no launcher watches over them (srun, mpirun)."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from mmengine.hooks import Hook

from mmdetr.engine import DetectionRunner
from mmdetr.engine.distributed import LostRankError
from tests.helpers.ranks import start_ranks
from tests.helpers.toy import toy_config

EXPLAINED, FAILED = 7, 1  # exit codes


class Begun(Hook):
    """Leaves a file when the third iteration is done, and may fail in it."""

    def __init__(self, path: Path, fail: bool) -> None:
        self.path = path
        self.fail = fail

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        if runner.iter == 2:
            self.path.touch()
            if self.fail:
                raise ValueError('trouble on this rank alone')


def _train(rank: int, config: Any, failing: bool) -> None:
    config.launcher = 'slurm'
    runner = DetectionRunner.from_cfg(config)
    folder = Path(config.work_dir)
    runner.register_hook(Begun(folder / f'begun{rank}', fail=failing and rank == 1))
    try:
        runner.train()
    except LostRankError as error:
        (folder / f'message{rank}').write_text(str(error))
        os._exit(EXPLAINED)


def wait_for(path: Path, limit: float = 120) -> None:
    end = time.monotonic() + limit
    while not path.exists():
        assert time.monotonic() < end, f'{path.name} did not appear'
        time.sleep(0.05)


@pytest.mark.parametrize('way', ['killed', 'stopped', 'failing'])
def test_the_other_rank_ends_with_a_message(tmp_path: Path, way: str) -> None:
    config = toy_config(tmp_path, train_cfg__max_epochs=10**6)
    config.env_cfg = dict(dist_cfg=dict(timeout=5 if way == 'stopped' else 600))
    first, second = start_ranks(2, _train, config, way == 'failing', launcher='slurm')
    try:
        wait_for(tmp_path / 'begun0')
        wait_for(tmp_path / 'begun1')
        if way != 'failing':
            os.kill(second.pid, signal.SIGKILL if way == 'killed' else signal.SIGSTOP)
        first.join(60)
        assert first.exitcode == EXPLAINED
        message = (tmp_path / 'message0').read_text()
        assert 'rank 0 of 2: another rank has ended or has not answered' in message
        assert 'dist_cfg.timeout' in message
        assert '--resume' in message
        if way == 'failing':
            second.join(60)
            assert second.exitcode == FAILED
    finally:
        first.kill()
        second.kill()


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    def fail(runner: Any, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError('shapes do not fit')

    runner = DetectionRunner.from_cfg(toy_config(tmp_path))
    hook = Hook()
    hook.after_train_iter = fail  # type: ignore[method-assign]
    runner.register_hook(hook)
    with pytest.raises(RuntimeError, match='shapes do not fit'):
        runner.train()
