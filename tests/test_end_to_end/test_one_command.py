"""``train FOLDER``: from pictures with labels to a tested detector."""

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.foreign_data import write

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings('ignore:.*instance named of')
# The demo's model, on files.
BASE = """
_base_ = 'mmdetr::detr_tiny_1xb32-12e_shapes.py'
steps = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64))]
keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'instances')
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False,
    dataset=dict(_delete_=True, type='CocoDataset', pipeline=[
        steps[0], dict(type='LoadAnnotations'), steps[1], dict(type='PackDetInputs')]))
val_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False,
    dataset=dict(_delete_=True, type='CocoDataset', test_mode=True, pipeline=[
        *steps, dict(type='PackDetInputs', meta_keys=keys)]))
test_dataloader = val_dataloader
default_hooks = dict(visualization=dict(draw=False))
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: Any) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, 'argv', ['train.py', *arguments])
        runpy.run_path(str(ROOT / 'tools/train.py'), run_name='__main__')

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight pictures with a bright square each, beside labels of YOLO."""
    for index in range(8):
        pixels = np.full((64, 64, 3), 30, dtype=np.uint8)
        left = 5 * index
        pixels[20:40, left : left + 20] = 220
        path = tmp_path / f'photos/images/{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        row = f'0 {(left + 10) / 64:.6f} {30 / 64:.6f} {20 / 64:.6f} {20 / 64:.6f}'
        write(tmp_path / f'photos/labels/{index}.txt', row)
    write(tmp_path / 'photos/data.yaml', 'names: [square]')
    write(tmp_path / 'base.py', BASE)
    return tmp_path / 'photos'


def test_from_a_folder_to_a_tested_detector(photos: Path, tool: Any, capfd: Any) -> None:
    command = ('photos', '--weights', 'none', '--epochs', '1', '--model', 'base.py')
    tool(*command)
    said = capfd.readouterr().out
    work_dir = photos.parent / 'work_dirs/photos'
    config = work_dir / 'photos.py'
    assert 'YOLO: 8 images of photos' in said
    assert 'result: bbox_mAP 0.' in said
    assert 'on val.json with work_dirs/photos/best_coco_bbox_mAP_epoch_1.pth' in said
    assert 'next: mmdetr infer PHOTOS work_dirs/photos/best' in said
    # The config stays the short one, which the user may edit.
    assert f"_base_ = '{photos.parent}/base.py'" in config.read_text()

    with pytest.raises(SystemExit) as caught:
        tool(*command)
    assert 'photos.py is there already: --resume goes on with it' in str(caught.value)
    text = config.read_text().replace('max_epochs=1', 'max_epochs=2')
    config.write_text(text.replace('T_max=1', 'T_max=2'))
    tool(*command, '--resume')
    assert (work_dir / 'epoch_2.pth').is_file()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('photos', '--epochs', '0'), '--epochs must be 1 or more, not 0'),
        (('photos', '--launcher', 'pytorch'), 'a folder is prepared by one process'),
        (('photos', '--resume', 'a.pth'), '--resume takes no checkpoint with a folder'),
        (('photos', '--weights', 'none.pth'), 'checkpoint not found: none.pth'),
        (('base.py', '--weights', 'none'), '--weights is for a folder of data, not for a config'),
        (('empty',), 'empty: no known data; looked for: a JSON file with images'),
    ],
)
def test_refusals(photos: Path, tool: Any, capsys: Any, arguments: tuple, message: str) -> None:
    (photos.parent / 'empty').mkdir()
    with pytest.raises(SystemExit) as caught:
        tool(*arguments)
    assert message in capsys.readouterr().err + str(caught.value)
