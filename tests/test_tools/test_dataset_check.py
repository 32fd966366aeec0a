"""tools/dataset/check.py as a user starts it, on data made for each finding."""

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers import toy  # noqa: F401  registers ToyDataset
from tests.helpers.coco_files import GOOD_ANNOTATIONS, GOOD_IMAGES, write_coco, write_images

ROOT = Path(__file__).parents[2]


def write(folder: Path, annotations: list = GOOD_ANNOTATIONS) -> None:
    folder.mkdir(exist_ok=True)
    write_coco(folder, GOOD_IMAGES, annotations)
    write_images(folder, GOOD_IMAGES)


def loader(folder: Path, test_mode: bool) -> dict:
    dataset = dict(
        type='CocoDataset',
        data_root=str(folder),
        ann_file='coco.json',
        data_prefix=dict(img=''),
        test_mode=test_mode,
    )
    return dict(batch_size=2, dataset=dataset)


def write_config(folder: Path) -> Path:
    config = dict(
        default_scope='mmdetr',
        model=dict(type='DETR', bbox_head=dict(num_classes=3, num_queries=5)),
        train_dataloader=loader(folder / 'train', False),
        val_dataloader=loader(folder / 'val', True),
        test_dataloader=loader(folder / 'val', True),
        train_cfg=dict(max_epochs=3),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-4)),
        auto_scale_lr=dict(enable=False, base_batch_size=16),
    )
    path = folder / 'config.py'
    path.write_text('\n'.join(f'{key} = {value!r}' for key, value in config.items()))
    return path


@pytest.fixture
def check(tmp_path: Path, monkeypatch: Any, capsys: Any) -> Any:
    """Run the tool on data in train/ and val/; return its exit status and output."""
    write(tmp_path / 'train')
    write(tmp_path / 'val')
    config = write_config(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, 'argv', ['check.py', str(config), *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(ROOT / 'tools' / 'dataset' / 'check.py'), run_name='__main__')
        return int(caught.value.code or 0), capsys.readouterr().out

    return run


def test_good_data(check: Any) -> None:
    status, output = check('--num-gpus', '8')
    assert status == 0
    assert 'train_dataloader: 4 images, 3 objects, 1 images without, at most 1 in one' in output
    assert '2 images x 8 processes x 1 accumulated = 16 per optimiser step' in output
    assert 'from scratch on 4 images for 3 steps' in output
    assert '4 pictures stand in both train_dataloader and val_dataloader' in output
    assert output.endswith('0 errors, 2 warnings\n')
    assert output.count('info: val_dataloader: ') == 1, 'test_dataloader is the same'


def test_training_data_that_are_validation_data_too(tmp_path: Path, check: Any) -> None:
    """As where a few images are to be learnt by heart."""
    write(tmp_path / 'train', [])
    path = tmp_path / 'config.py'
    path.write_text(path.read_text() + '\nval_dataloader = train_dataloader')
    status, output = check()
    assert status == 1
    assert 'error: train_dataloader: none of 4 images has an object' in output
    assert 'images x 1 processes' in output
    assert 'val_dataloader' not in output
    assert output.count('test_dataloader: 4 images') == 1


def test_one_dataset_in_different_batches_is_checked_once(check: Any) -> None:
    _, output = check('--cfg-options', 'test_dataloader.batch_size=5')
    assert 'val_dataloader' in output
    assert 'test_dataloader' not in output


def test_data_of_another_kind(tmp_path: Path, check: Any) -> None:
    """Nothing but their classes is known of them."""
    path = tmp_path / 'config.py'
    loader = dict(batch_size=2, dataset=dict(type='ToyDataset'))
    path.write_text(path.read_text() + f'\ntrain_dataloader = {loader!r}')
    status, output = check()
    assert status == 1
    assert 'train_dataloader and val_dataloader differ in their classes' in output


def test_a_bad_image_stops_testing_but_not_training(tmp_path: Path, check: Any) -> None:
    (tmp_path / 'train' / '1.png').unlink()
    whole = (tmp_path / 'train' / '2.png').read_bytes()
    (tmp_path / 'train' / '2.png').write_bytes(whole[: len(whole) // 2])
    (tmp_path / 'train' / '3.png').write_bytes(b'no image')
    status, output = check()
    assert status == 0
    assert 'warning: train_dataloader: 1 of 4 image files looked for are missing' in output
    # The end of 2.png and the kind of 3.png are seen without decoding.
    assert 'warning: train_dataloader: 2 of 4 images cannot be used' in output

    Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(tmp_path / 'val' / '3.png')
    # One image decoded, the first: a wrong size is in the header.
    status, output = check('--decode', '1')
    assert status == 1
    assert 'error: val_dataloader: 1 of 4 images cannot be used' in output
    assert output.count('60x50 pixels, but the annotation file says 100x80') == 1
    assert 'decoded' not in output


def test_wrong_folder(tmp_path: Path, check: Any) -> None:
    status, output = check('--cfg-options', 'train_dataloader.dataset.data_prefix.img=images/')
    assert status == 1
    assert 'error: train_dataloader: 4 of 4 image files looked for are missing' in output
    assert 'data_prefix' in output


def test_xyxy_boxes(tmp_path: Path, check: Any) -> None:
    corners = [[10, 10, 30, 30], [60, 40, 90, 70], [5, 5, 95, 75]]
    write(
        tmp_path / 'val', [{**a, 'bbox': b} for a, b in zip(GOOD_ANNOTATIONS, corners, strict=True)]
    )
    status, output = check()
    assert status == 1
    assert 'look like [x1, y1, x2, y2]' in output
    assert 'val_dataloader: of 3 boxes 1 clipped' in output
    assert 'train_dataloader: the boxes' not in output


def test_classes(tmp_path: Path, check: Any) -> None:
    status, output = check('--cfg-options', 'model.bbox_head.num_classes=91')
    assert status == 1
    assert 'model.bbox_head.num_classes is 91, but train_dataloader has 3 classes' in output
    assert 'set model.bbox_head.num_classes=3' in output

    status, output = check(
        '--cfg-options', "val_dataloader.dataset.metainfo.classes=('dog','cat','bird')"
    )
    assert status == 1
    assert 'train_dataloader and val_dataloader differ in their classes' in output


def test_broken_annotation_file_and_misspelt_option(tmp_path: Path, check: Any) -> None:
    (tmp_path / 'val' / 'coco.json').write_text('{"images": [')
    status, output = check()
    assert status == 1
    assert 'error: val_dataloader: ' in output
    assert 'not valid JSON' in output
    with pytest.raises(ValueError, match='did you mean'):
        check('--cfg-options', 'modle.x=1')  # the exit status is the message
