"""Arguments that would give nothing, or lose a result, are refused before anything slow."""

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.structures import InstanceData
from PIL import Image

from mmdetr.apis.sources import VIDEO_SUFFIXES, ImageFiles
from mmdetr.datasets.transforms import LoadImageFromFile
from mmdetr.structures import above_operating_point
from tests.helpers.foreign_data import picture, write

TOOLS = Path(__file__).parents[2] / 'tools'
DEMO = 'detr_tiny_1xb32-12e_shapes'
INFER = ('infer.py', 'photos', DEMO, 'a.pth')
ATTENTION = ('analysis/attention.py', 'a.png', DEMO, 'a.pth')
BROWSE = ('dataset/browse.py', DEMO)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((*INFER, '--score-thr', '50'), "a score is a number in 0..1, not '50'"),
        ((*INFER, '--score-thr', '0,5'), "a score is a number in 0..1, not '0,5'"),
        ((*ATTENTION, '--score-thr', '-1'), "a score is a number in 0..1, not '-1'"),
        (('analysis/report.py', 'photos', '--score-thr', 'nan'), 'a score is a number in 0..1'),
        ((*INFER, '--out-dir', 'file/out'), 'file is no folder'),
        ((*ATTENTION, '--out', 'file/where.html'), 'file is no folder'),
        (('analysis/report.py', 'photos', '--out', 'file/page.html'), 'file is no folder'),
        ((*BROWSE, '--out', 'file/sheet.png'), 'file is no folder'),
        ((*BROWSE, '--out', 'file'), 'file is no folder'),
        (
            (*BROWSE, '--out', 'sheet.gif'),
            '--out is a folder or ends in .jpeg or .jpg or .png, not',
        ),
        (('infer.py', 'rtsp://camera/1', DEMO, 'a.pth'), 'only http:// and https:// are read'),
        (('analysis/report.py', 'photos'), 'photos is no folder of a training'),
        (('train.py', 'gone', '--weights', 'none'), 'folder or config not found: gone'),
    ],
)
def test_before_anything_slow(
    tmp_path: Path, monkeypatch: Any, capsys: Any, arguments: tuple, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / 'photos/a.png')
    write(tmp_path / 'a.pth', 'x')
    write(tmp_path / 'file', 'x')
    monkeypatch.setattr(sys, 'argv', list(arguments))
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(TOOLS / arguments[0]), run_name='__main__')
    assert caught.value.code not in (0, None)
    assert message in capsys.readouterr().err + str(caught.value)
    assert not list(tmp_path.rglob('*.html'))


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / 'a.pth', 'x')
    monkeypatch.setattr('os.access', lambda *_: False)
    monkeypatch.setattr(sys, 'argv', list(INFER))
    with pytest.raises(SystemExit, match='--out-dir work_dirs/infer: nothing may be written in'):
        runpy.run_path(str(TOOLS / 'infer.py'), run_name='__main__')


def test_a_threshold_in_percent() -> None:
    pred = InstanceData(scores=torch.tensor([0.9]), labels=torch.tensor([0]))
    with pytest.raises(ValueError, match=r'a score threshold must be in 0\.\.1, not 50'):
        above_operating_point(pred, 50)


def test_images_that_lie_where_results_go(tmp_path: Path) -> None:
    picture(tmp_path / 'photos/images/a.png')
    out = tmp_path / 'photos/images'
    with pytest.raises(
        ValueError, match=r'no image found: .*what is below --out-dir .* is no input'
    ):
        ImageFiles(str(tmp_path / 'photos'), out)


def test_suffixes_of_videos() -> None:
    """What cameras and old programs write, too."""
    assert {'.wmv', '.mts', '.3gp', '.mp4'} <= set(VIDEO_SUFFIXES)


def test_frames_behind_the_first_are_counted(tmp_path: Path, capsys: Any) -> None:
    frames = [Image.new('RGB', (8, 8), colour) for colour in ('red', 'blue')]
    frames[0].save(tmp_path / 'a.gif', save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / 'b.gif')
    source = ImageFiles(str(tmp_path), tmp_path / 'out')
    load = LoadImageFromFile()
    assert len(list(source.read(load))) == 2
    said = capsys.readouterr().out
    assert '1 files hold several pictures, of which the first is looked at: ' in said
    assert 'a.gif' in said
