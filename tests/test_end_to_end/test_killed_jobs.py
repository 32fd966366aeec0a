"""kill -9 on real trainings: a rank of a job, and one process again and again."""

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mmdetr.checkpoint import load_file

from .test_tools_chain import DEMO, ROOT, SMALL

FAILING_HOOK = """
from mmengine.hooks import Hook
from mmdetr.registry import HOOKS

@HOOKS.register_module()
class FailingHook(Hook):
    def after_train_iter(self, runner, *args, **kwargs):
        if runner.rank == 1 and runner.iter == 3:
            raise ValueError('trouble on this rank alone')
"""


FAILING_CONFIG = """
_base_ = {base!r}
custom_imports = dict(imports=['failing_hook'], allow_failed_imports=False)
custom_hooks = [dict(type='FailingHook')]
"""


class Job:
    """Two ranks under torchrun, with workers, and all processes that descend from them.

    Args:
        folder: For the work directory and the output.
        config: The demo or a child of it.
    """

    def __init__(self, folder: Path, config: Path = DEMO) -> None:
        self.mark = uuid.uuid4().hex
        self.output = folder / 'output.txt'
        options = {**SMALL, 'train_cfg.max_epochs': 1000, 'train_dataloader.num_workers': 2}
        command = ['bash', ROOT / 'tools/dist_train.sh', config, '2', '--work-dir', folder / 'run']
        overrides = [f'{key}={value}' for key, value in options.items()]
        environment = dict(
            PYTHON=sys.executable,
            PYTHONPATH=os.pathsep.join([str(folder), str(ROOT), os.environ.get('PYTHONPATH', '')]),
            CUDA_VISIBLE_DEVICES='',
            JOB_OF_TEST=self.mark,
        )
        with self.output.open('w') as file:
            self.launcher = subprocess.Popen(
                [*command, '--cfg-options', *overrides],
                env={**os.environ, **environment},
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def processes(self) -> dict[int, dict[str, str]]:
        """Environment of all that is alive, by process id."""
        found = {}
        for folder in Path('/proc').iterdir():
            try:
                content = (folder / 'environ').read_bytes().decode(errors='replace')
            except OSError:  # gone, of another user, or no process
                continue
            variables = dict(each.split('=', 1) for each in content.split('\0') if '=' in each)
            if variables.get('JOB_OF_TEST') == self.mark:
                found[int(folder.name)] = variables
        return found

    def pid_of_rank(self, rank: int) -> int:
        """Process id of a rank; its workers are not children of the launcher."""
        for pid, variables in self.processes().items():
            parent = int(Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[1])
            if variables.get('RANK') == str(rank) and parent == self.launcher.pid:
                return pid
        raise AssertionError(f'no rank {rank}')

    def wait_for_output(self, text: str) -> None:
        end = time.monotonic() + 300
        while text not in self.output.read_text():
            late = time.monotonic() > end or self.launcher.poll() is not None
            assert not late or text in self.output.read_text(), self.output.read_text()
            time.sleep(0.2)

    def stop(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self.launcher.wait()


@pytest.fixture
def jobs() -> Iterator[list[Job]]:
    started: list[Job] = []
    yield started
    for job in started:
        job.stop()


def assert_ends_whole(job: Job, limit: float = 60) -> None:
    """The launcher reports failure in time, and no process stays behind."""
    assert job.launcher.wait(limit) != 0
    end = time.monotonic() + 20  # a worker looks for its parent every five seconds
    while job.processes():
        assert time.monotonic() < end, f'left behind: {job.processes().keys()}'
        time.sleep(0.5)


@pytest.mark.slow
def test_a_killed_rank_ends_the_job(tmp_path: Path, jobs: list[Job]) -> None:
    job = Job(tmp_path)
    jobs.append(job)
    job.wait_for_output('first step after')
    assert len(job.processes()) >= 7, 'launcher, two ranks with two workers each'
    os.kill(job.pid_of_rank(1), signal.SIGKILL)
    assert_ends_whole(job)
    output = job.output.read_text()
    assert 'Signal 9 (SIGKILL) received' in output
    assert 'rank      : 1' in output


@pytest.mark.slow
def test_a_failing_rank_ends_the_job(tmp_path: Path, jobs: list[Job]) -> None:
    (tmp_path / 'failing_hook.py').write_text(FAILING_HOOK)
    config = tmp_path / 'failing.py'
    config.write_text(FAILING_CONFIG.format(base=str(DEMO)))
    job = Job(tmp_path, config)
    jobs.append(job)
    job.wait_for_output('trouble on this rank alone')
    assert_ends_whole(job)
    assert 'rank      : 1' in job.output.read_text()


# One process, killed again and again


SHORT = {
    'train_dataloader.batch_size': 4,
    'train_dataloader.dataset.num_images': 40,
    'train_dataloader.num_workers': 2,
    'val_dataloader.dataset.num_images': 8,
    'default_hooks.visualization.draw': False,
    'default_hooks.checkpoint.max_keep_ckpts': 2,
    'param_scheduler.1.T_max': 80,
}
BY_EPOCH = """
_base_ = {base!r}
train_cfg = dict(max_epochs=80, val_interval=8)
"""
BY_ITERATION = """
_base_ = {base!r}
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=800, val_interval=80)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=7))  # an epoch has ten
"""


def training(config: Path, work_dir: Path, *arguments: str) -> subprocess.Popen:
    overrides = [f'{key}={value}' for key, value in SHORT.items()]
    command = [sys.executable, ROOT / 'tools/train.py', config, '--work-dir', work_dir, *arguments]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'CUDA_VISIBLE_DEVICES': ''}
    with work_dir.with_suffix('.txt').open('a') as file:
        return subprocess.Popen(
            [*command, '--cfg-options', *overrides],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen]]:
    started: list[subprocess.Popen] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def newest(work_dir: Path) -> float:
    pointer = work_dir / 'last_checkpoint'
    return pointer.stat().st_mtime if pointer.exists() else 0.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ('content', 'last'),
    [(BY_EPOCH, 'epoch_80.pth'), (BY_ITERATION, 'iter_800.pth')],
    ids=['by epoch', 'by iteration'],
)
def test_demo_killed_twenty_times(
    tmp_path: Path, processes: list[subprocess.Popen], content: str, last: str
) -> None:
    """The demo's DETR ends with the weights and the AP of a run never killed."""
    config = tmp_path / 'config.py'
    config.write_text(content.format(base=str(DEMO)))
    whole = training(config, tmp_path / 'whole')
    processes.append(whole)
    killed, delays = tmp_path / 'killed', random.Random(0)
    for _ in range(20):
        before = newest(killed)
        process = training(config, killed, '--resume')
        processes.append(process)
        # After its first checkpoint, so that it gets on; and then at any moment.
        while newest(killed) == before:
            assert process.poll() is None, 'the training ended before its twentieth kill'
            time.sleep(0.01)
        time.sleep(delays.uniform(0, 0.5))
        assert process.poll() is None, 'the training ended before its twentieth kill'
        process.kill()
        process.wait()
    process = training(config, killed, '--resume')
    processes.append(process)
    assert process.wait() == 0
    assert whole.wait() == 0
    expected, actual = (load_file(tmp_path / name / last) for name in ('whole', 'killed'))
    for name, value in expected['state_dict'].items():
        assert torch.equal(actual['state_dict'][name], value), name
    scores = [each['message_hub']['runtime_info']['best_score'] for each in (expected, actual)]
    assert scores[0] == scores[1]
    names = [{path.name for path in (tmp_path / n).glob('*.pth')} for n in ('whole', 'killed')]
    assert names[0] == names[1]
