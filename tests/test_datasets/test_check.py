"""The data checks: each finding on data made for it, by the tool and before training."""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config, ConfigDict
from mmengine.dataset import ConcatDataset
from PIL import Image

from mmdetr.datasets import CocoDataset, ShapesDataset
from mmdetr.datasets.check import (
    check_amount,
    check_batch,
    check_files,
    check_images,
    check_objects,
    leaf_datasets,
    looks_like_xyxy,
)
from mmdetr.engine.hooks import DatasetCheckHook
from mmdetr.registry import HOOKS
from tests.helpers.coco_files import annotation, image, write_coco, write_images

ROOT = Path(__file__).parents[2]
# Images of 100 x 80 pixels; 7 is dog, 2 cat, 90 bird.
IMAGES = [image(i) for i in range(1, 5)]
GOOD = [
    annotation(1, 1, 7, [10, 10, 20, 20]),
    annotation(2, 2, 2, [60, 40, 30, 30]),
    annotation(3, 3, 90, [5, 5, 90, 70]),
]


def write(folder: Path, annotations: list = GOOD, images: list = IMAGES) -> None:
    folder.mkdir(exist_ok=True)
    write_coco(folder, images, annotations)
    write_images(folder, images)


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
    """Runs the tool on data in train/ and val/, returns its exit status and output."""
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


# The tool


def test_good_data(check: Any) -> None:
    status, output = check('--num-gpus', '8')
    assert status == 0
    assert 'train_dataloader: 4 images, 3 objects, 1 images without, at most 1 in one' in output
    assert '2 images x 8 processes x 1 accumulated = 16 per optimiser step' in output
    assert 'from scratch on 4 images for 3 steps' in output
    assert output.endswith('0 errors, 1 warnings\n')
    assert output.count('val_dataloader') == 1, 'test_dataloader is the same'


def test_a_bad_image_stops_testing_but_not_training(tmp_path: Path, check: Any) -> None:
    (tmp_path / 'train' / '1.png').unlink()
    (tmp_path / 'train' / '2.png').write_bytes(b'no image')
    status, output = check()
    assert status == 0
    assert 'warning: train_dataloader: 1 of 4 image files looked for are missing' in output
    assert 'warning: train_dataloader: 1 of 4 images decoded cannot be used' in output

    Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(tmp_path / 'val' / '3.png')
    status, output = check('--decode', 'all')
    assert status == 1
    assert 'error: val_dataloader: 1 of 4 images decoded cannot be used' in output
    assert '60x50 pixels, but the annotation file says 100x80' in output
    # One image decoded, the first: the bad ones go unnoticed.
    assert check('--decode', '1')[0] == 0


def test_wrong_folder(tmp_path: Path, check: Any) -> None:
    status, output = check('--cfg-options', 'train_dataloader.dataset.data_prefix.img=images/')
    assert status == 1
    assert 'error: train_dataloader: 4 of 4 image files looked for are missing' in output
    assert 'data_prefix' in output


def test_xyxy_boxes(tmp_path: Path, check: Any) -> None:
    corners = [[10, 10, 30, 30], [60, 40, 90, 70], [5, 5, 95, 75]]
    write(tmp_path / 'val', [{**a, 'bbox': b} for a, b in zip(GOOD, corners, strict=True)])
    status, output = check()
    assert status == 1
    assert 'look like [x1, y1, x2, y2]' in output
    assert 'val_dataloader: of 3 boxes 1 clipped' in output
    assert 'instead of xywh?' in output
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


# Single checks


def coco(folder: Path, annotations: list, images: list = IMAGES, **kwargs: Any) -> CocoDataset:
    folder.mkdir(exist_ok=True)
    ann_file = write_coco(folder, images, annotations)
    return CocoDataset(ann_file, data_prefix=dict(img=str(folder)), **kwargs)


def texts(findings: list, level: str) -> str:
    return '\n'.join(text for own, text in findings if own == level)


def test_objects(tmp_path: Path) -> None:
    crowd = annotation(9, 1, 90, [1, 1, 5, 5], iscrowd=1)  # neither an object nor an instance
    many = [annotation(i, 4, 7, [i, i, 5, 5]) for i in range(10, 14)]
    dirty = [annotation(20, 1, 7, [5, 5, 0, 5]), annotation(21, 1, 7, [90, 5, 50, 5])]
    findings = check_objects(coco(tmp_path, [*many, crowd, *dirty]), 'data', num_queries=3)
    warnings = texts(findings, 'warning')
    assert 'no instances of 2 classes: cat, bird' in warnings
    assert '1 images have more objects than the 3 queries, up to 4' in warnings
    assert 'of 6 boxes 1 zero size, 1 clipped' in warnings
    assert 'at most 4 in one' in texts(findings, 'info')
    assert 'queries' not in texts(check_objects(coco(tmp_path, many), 'data', 4), 'warning')


def test_no_objects(tmp_path: Path) -> None:
    dataset = coco(tmp_path, [])
    assert 'none of 4 images' in texts(check_objects(dataset, 'data', None), 'error')
    assert not texts(check_objects(dataset, 'data', None, required=False), 'error')


def test_looks_like_xyxy() -> None:
    """Boxes drawn at random, read both ways."""
    rng = np.random.default_rng(0)
    size = np.full((200, 2), (640, 480))
    corners = np.sort(rng.uniform(0, 1, (200, 2, 2)), axis=1) * size[0]
    xyxy = corners.reshape(200, 4)
    xywh = np.concatenate((corners[:, 0], corners[:, 1] - corners[:, 0]), axis=1)
    assert looks_like_xyxy(xyxy, size)
    assert not looks_like_xyxy(xywh, size)
    whole = np.tile((0, 0, 640, 480), (50, 1))  # the same both ways
    assert not looks_like_xyxy(whole, size[:50])


def test_too_many_missing_files_are_an_error_in_training(tmp_path: Path) -> None:
    dataset = coco(tmp_path, GOOD, max_unreadable=2)
    write_images(tmp_path, IMAGES)
    assert check_files(dataset, 'data', None) == []
    for number, level in ((1, 'warning'), (2, 'warning'), (3, 'error')):
        (tmp_path / f'{number}.png').unlink()
        assert [each.level for each in check_files(dataset, 'data', None)] == [level]
        # The first and the last image are the sample of two.
        assert '1 of 2 image' in texts(check_files(dataset, 'data', sample=2), 'warning')
    assert check_images(dataset, 'data', None) == [], 'missing files are not counted twice'


def test_generated_images_have_no_files() -> None:
    dataset = ShapesDataset(num_images=3)
    assert check_files(dataset, 'data', None) == check_images(dataset, 'data', None) == []


def test_leaves_of_combined_datasets(tmp_path: Path) -> None:
    first, second = coco(tmp_path / 'a', GOOD), coco(tmp_path / 'b', GOOD)
    combined = SimpleNamespace(dataset=ConcatDataset([first, second]))
    assert leaf_datasets(combined) == [first, second]


@pytest.mark.parametrize(
    ('accumulated', 'enable', 'world_size', 'level', 'text'),
    [
        (1, False, 8, 'info', '= 16 per optimiser step, learning rate 0.0001'),
        (4, False, 2, 'info', '= 16 per optimiser step, learning rate 0.0001'),
        (1, False, 1, 'warning', 'for 16 images; --auto-scale-lr would make it 1.25e-05'),
        (1, True, 1, 'info', 'scaled to 1.25e-05'),
    ],
)
def test_batch(accumulated: int, enable: bool, world_size: int, level: str, text: str) -> None:
    cfg = dict(
        train_dataloader=dict(batch_size=2),
        optim_wrapper=dict(optimizer=dict(lr=1e-4), accumulative_counts=accumulated),
        auto_scale_lr=dict(enable=enable, base_batch_size=16),
    )
    (finding,) = check_batch(cfg, world_size)
    assert finding.level == level
    assert text in finding.text


def test_amount() -> None:
    """COCO with 150 epochs is enough, ten epochs are not, published weights always are."""
    cfg = dict(
        train_cfg=dict(max_epochs=150),
        train_dataloader=dict(batch_size=2),
        optim_wrapper=dict(optimizer=dict(lr=1e-4)),
    )
    assert check_amount(cfg, num_images=118_287, world_size=8) == []
    (finding,) = check_amount(cfg | dict(train_cfg=dict(max_epochs=10)), 118_287, 8)
    assert 'for 73930 steps' in finding.text
    assert check_amount(cfg | dict(train_cfg=dict(max_iters=400_000)), 118_287, 8) == []
    assert (
        'on 500 images' in check_amount(cfg | dict(train_cfg=dict(max_iters=9**9)), 500, 8)[0].text
    )
    assert check_amount(cfg | dict(load_from='detr.pth'), num_images=500, world_size=1) == []


# Before training


class Log:
    def __init__(self) -> None:
        self.text = ''

    def log(self, level: int, text: str) -> None:
        self.text += f'{level} {text}\n'


def runner_of(dataset: Any) -> Any:
    cfg = ConfigDict(
        model=dict(bbox_head=dict(num_queries=100)),
        train_cfg=dict(max_epochs=1),
        train_dataloader=dict(batch_size=2),
        optim_wrapper=dict(optimizer=dict(lr=1e-4)),
    )
    wrapped = SimpleNamespace(dataset=dataset)
    return SimpleNamespace(train_dataloader=wrapped, cfg=cfg, world_size=1, logger=Log())


def test_before_training(tmp_path: Path) -> None:
    runner = runner_of(coco(tmp_path, GOOD))
    write_images(tmp_path, IMAGES[1:])
    DatasetCheckHook().before_train(runner)
    assert '30 training data: 1 of 4 image files looked for are missing' in runner.logger.text
    assert '30 training from scratch on 4 images' in runner.logger.text
    assert '20 batch: 2 images' in runner.logger.text

    with pytest.raises(ValueError, match=r'cannot be trained on.*none of 4 images has an object'):
        DatasetCheckHook().before_train(runner_of(coco(tmp_path, [])))
    runner = runner_of(ConcatDataset([coco(tmp_path, []), coco(tmp_path, GOOD)]))
    DatasetCheckHook().before_train(runner)
    assert '30 training data 0: none of 4 images' in runner.logger.text


def test_before_training_on_other_data() -> None:
    runner = runner_of([1, 2, 3])
    DatasetCheckHook().before_train(runner)
    assert runner.logger.text == ''
    runner = runner_of(ShapesDataset(num_images=3))
    runner.cfg = Config()
    DatasetCheckHook().before_train(runner)
    assert 'scratch' not in runner.logger.text


def test_on_by_default() -> None:
    cfg = Config.fromfile(ROOT / 'configs/_base_/default_runtime.py')
    assert isinstance(HOOKS.build(cfg.default_hooks.dataset_check), DatasetCheckHook)
