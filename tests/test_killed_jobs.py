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

from .test_end_to_end import DEMO, ROOT, SMALL

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
    job.wait_for_output('Epoch(train)')
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


RESUMED = {
    'train_dataloader.batch_size': 4,
    'train_dataloader.dataset.num_images': 40,
    'val_dataloader.dataset.num_images': 8,
    'val_dataloader.num_workers': 1,
    'default_hooks.visualization.draw': False,
    'default_hooks.checkpoint.max_keep_ckpts': 2,
}
BY_EPOCH = {
    'train_cfg.max_epochs': 40,
    'train_cfg.val_interval': 4,
    'param_scheduler.1.T_max': 40,
}
BY_ITERATION = {
    'train_cfg': dict(type='IterBasedTrainLoop', max_iters=400, val_interval=40, _delete_=True),
    'param_scheduler.1.T_max': 40,
    'default_hooks.checkpoint.by_epoch': False,
    'default_hooks.checkpoint.interval': 7,  # an epoch has ten
}


def training(work_dir: Path, options: dict, *arguments: str) -> subprocess.Popen:
    overrides = [f'{key}={value}' for key, value in {**RESUMED, **options}.items()]
    command = [sys.executable, ROOT / 'tools/train.py', DEMO, '--work-dir', work_dir, *arguments]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'CUDA_VISIBLE_DEVICES': ''}
    return subprocess.Popen(
        [*command, '--cfg-options', *overrides],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=(work_dir.parent / f'{work_dir.name}.txt').open('a'),
    )


def newest(work_dir: Path) -> float:
    pointer = work_dir / 'last_checkpoint'
    return pointer.stat().st_mtime if pointer.exists() else 0.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ('options', 'last'),
    [(BY_EPOCH, 'epoch_40.pth'), (BY_ITERATION, 'iter_400.pth')],
    ids=['by epoch', 'by iteration'],
)
def test_demo_killed_twenty_times(tmp_path: Path, options: dict, last: str) -> None:
    """The demo's DETR ends with the weights and the AP of a run never killed."""
    whole = training(tmp_path / 'whole', options)
    delays = random.Random(0)
    killed = tmp_path / 'killed'
    kills = 0
    while True:
        before = newest(killed)
        process = training(killed, options, '--resume')
        if kills == 20:
            break
        # After its first checkpoint, so that it gets on; and then at any moment.
        while newest(killed) == before:
            assert process.poll() is None, 'the training ended before its twentieth kill'
            time.sleep(0.01)
        time.sleep(delays.uniform(0, 1))
        assert process.poll() is None, 'the training ended before its twentieth kill'
        process.kill()
        process.wait()
        kills += 1
    assert process.wait() == 0
    assert whole.wait() == 0
    expected, actual = (load_file(tmp_path / name / last) for name in ('whole', 'killed'))
    for name, value in expected['state_dict'].items():
        assert torch.equal(actual['state_dict'][name], value), name
    scores = [
        content['message_hub']['runtime_info']['best_score'] for content in (expected, actual)
    ]
    assert scores[0] == scores[1]
    names = [{path.name for path in (tmp_path / n).glob('*.pth')} for n in ('whole', 'killed')]
    assert names[0] == names[1]
