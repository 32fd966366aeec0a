"""Folders that cannot be written: an error that names the file, and nothing lost."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook

from mmdetr.engine import DetectionRunner
from tests.helpers.toy import toy_config, weights

Mount = Callable[..., None]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """``mount`` for the length of a test; skips it where mounting is not permitted."""
    mounted: list[Path] = []

    def run(folder: Path, *arguments: str) -> None:
        done = subprocess.run(['mount', *arguments, folder], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f'mounting is not permitted here: {done.stderr.strip()}')
        mounted.append(folder)

    yield run
    for folder in mounted:
        subprocess.run(['umount', '--lazy', folder], check=False, capture_output=True)


class InThirdEpoch(Hook):
    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action

    def before_train_epoch(self, runner: Any) -> None:
        if runner.epoch == 2:
            self.action()


def train(work_dir: Path, action: Callable[[], None] | None = None, **changes: Any) -> torch.Tensor:
    runner = DetectionRunner.from_cfg(toy_config(work_dir, **changes))
    if action is not None:
        runner.register_hook(InThirdEpoch(action))
    runner.train()
    return weights(runner)


def assert_resumes(work_dir: Path, whole: Path) -> None:
    assert {'epoch_1.pth', 'epoch_2.pth'} <= {path.name for path in work_dir.glob('*.pth')}
    assert not list(work_dir.glob('.*.tmp'))
    assert torch.equal(train(work_dir, resume='auto'), train(whole))


def test_work_dir_below_a_file(tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match=r'Not a directory: .*/file'):
        train(tmp_path / 'file' / 'run')


def test_checkpoints_below_a_file(tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match=r'Not a directory: .*/file'):
        train(tmp_path / 'run', default_hooks__checkpoint__out_dir=str(tmp_path / 'file'))


@pytest.mark.parametrize('number', [errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_error_of_the_system_names_the_checkpoint(
    tmp_path: Path, monkeypatch: Any, number: int
) -> None:
    """No new file, and, as on a read-only disk, not even an attempt to delete one."""
    real_open, real_unlink = open, Path.unlink

    def fails(path: Any) -> None:
        if '.epoch_3.pth' in str(path):
            raise OSError(number, os.strerror(number), str(path))

    def open_(path: Any, *args: Any, **kwargs: Any) -> Any:
        fails(path)
        return real_open(path, *args, **kwargs)

    def unlink(path: Path, missing_ok: bool = False) -> None:
        fails(path)
        real_unlink(path, missing_ok)

    message = rf'cannot write .*/epoch_3\.pth: {os.strerror(number)}'
    with monkeypatch.context() as patch:
        patch.setattr('mmdetr.checkpoint.io.open', open_, raising=False)
        patch.setattr(Path, 'unlink', unlink)
        with pytest.raises(OSError, match=message):
            train(tmp_path / 'run')
    assert_resumes(tmp_path / 'run', tmp_path / 'whole')


def test_disk_that_becomes_read_only(tmp_path: Path, mount: Mount) -> None:
    disk = tmp_path / 'disk'

    def protect() -> None:
        mount(disk, '--bind', str(disk))
        mount(disk, '-o', 'remount,bind,ro')

    changes = dict(default_hooks__checkpoint__out_dir=str(disk))
    with pytest.raises(OSError, match=r'cannot write .*/epoch_3\.pth: Read-only file system'):
        train(tmp_path / 'run', protect, **changes)
    subprocess.run(['umount', '--lazy', disk], check=True)
    assert {'epoch_1.pth', 'epoch_2.pth'} <= {path.name for path in (disk / 'run').iterdir()}
    resumed = train(tmp_path / 'run', resume='auto', **changes)
    assert torch.equal(resumed, train(tmp_path / 'whole'))


def test_disk_that_is_full(tmp_path: Path, mount: Mount) -> None:
    disk = tmp_path / 'disk'
    disk.mkdir()
    mount(disk, '-t', 'tmpfs', '-o', 'size=2m', 'none')

    def fill() -> None:
        with (disk / 'filler').open('wb', 0) as file, suppress(OSError):
            while True:
                file.write(bytes(512))

    with pytest.raises(OSError, match=r'cannot write .*/epoch_3\.pth: No space left on device'):
        train(disk / 'run', fill)
    (disk / 'filler').unlink()
    assert_resumes(disk / 'run', tmp_path / 'whole')
