"""Damaged, copied and misnamed files in a work directory neither stop a resume nor mislead it."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from mmdetr.engine import DetectionRunner
from tests.helpers.interrupted import train
from tests.helpers.toy import toy_config

DAMAGE = {
    'not UTF-8': b'\xff\xfe\x00',
    'empty': b'',
    'too long': b'x' * 300 + b'.pth',
    'a null byte': b'a\0b.pth',
    'a number': b'3',
    'null': b'null',
    'a dict': b'{}',
    'no dicts': b'[1, 2]',
    'wrong types': b'[{"iter": "a", "epoch": 1, "metrics": {}, "best": {}}]',
    'a deep list': b'[' * 100_000,
    'training checkpoints': json.dumps(
        [
            dict(iter=i, epoch=i, metrics={}, best=dict(best_ckpt=f'epoch_{i}.pth'))
            for i in (3, 4, 5)
        ]
    ).encode(),
}


@pytest.fixture(scope='module')
def finished(tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp('finished')
    train(folder / 'run')
    return folder / 'run'


@pytest.mark.parametrize('name', ['last_checkpoint', 'validation_history.json'])
@pytest.mark.parametrize('damage', [*DAMAGE, 'a folder', 'a dangling link', 'a pipe'])
def test_damaged_file_beside_the_checkpoints(
    tmp_path: Path, finished: Path, name: str, damage: str, monkeypatch: Any
) -> None:
    shutil.copytree(finished, tmp_path / 'run')
    # What a broken pointer must not lead to.
    shutil.copy(finished / 'epoch_3.pth', tmp_path / 'epoch_9.pth')
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'run' / name
    path.unlink()
    if damage == 'a folder':
        path.mkdir()
    elif damage == 'a dangling link':
        path.symlink_to('nowhere.pth')
    elif damage == 'a pipe':
        os.mkfifo(path)
    else:
        path.write_bytes(DAMAGE[damage])
    runner = DetectionRunner.from_cfg(toy_config(tmp_path / 'run', resume='auto'))
    assert runner._start is not None
    assert runner._start.filename == str(tmp_path / 'run' / 'epoch_4.pth')
    if damage not in ('a folder', 'a pipe'):  # these cannot be replaced by a file of the name
        runner.train()
        assert runner.epoch == 4
    assert {'epoch_3.pth', 'epoch_4.pth'} <= {p.name for p in (tmp_path / 'run').iterdir()}


def test_copied_work_dir_is_resumed_from_its_own_files(tmp_path: Path, finished: Path) -> None:
    shutil.copytree(finished, tmp_path / 'copy')
    (tmp_path / 'copy' / 'epoch_4.pth').unlink()
    start = DetectionRunner.from_cfg(toy_config(tmp_path / 'copy', resume='auto'))._start
    assert start is not None
    assert start.filename == str(tmp_path / 'copy' / 'epoch_3.pth')


def test_newest_is_by_iteration_not_by_clock(tmp_path: Path) -> None:
    train(tmp_path, default_hooks__checkpoint__max_keep_ckpts=-1)
    (tmp_path / 'last_checkpoint').unlink()
    os.utime(tmp_path / 'epoch_2.pth', (2e9, 2e9))
    (tmp_path / 'epoch_4.pth').rename(tmp_path / 'iter_20.pth')
    start = DetectionRunner.from_cfg(toy_config(tmp_path, resume='auto'))._start
    assert start is not None
    assert Path(start.filename).name == 'iter_20.pth'


@pytest.mark.parametrize('template', ['same.pth', 'best_{}.pth', 'epoch_{}', 'a/{}.pth', '{x}.pth'])
def test_names_that_lose_checkpoints_are_refused(tmp_path: Path, template: str) -> None:
    with pytest.raises(ValueError, match='filename_tmpl'):
        DetectionRunner.from_cfg(
            toy_config(tmp_path, default_hooks__checkpoint__filename_tmpl=template)
        )
