"""What browse shows against what a training gets, and boxes and pixels by hand."""

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from PIL import Image

from mmdetr.engine import DetectionRunner
from mmdetr.engine.data_sampling import position_dataloader
from mmdetr.engine.fed_samples import fed_samples
from mmdetr.visualization import DetVisualizer
from mmdetr.visualization.fed_pictures import contact_sheet, draw_fed
from mmdetr.visualization.sample_parts import Segmentation
from tests.helpers.coco_files import annotation, image, write_coco, write_images

ROOT = Path(__file__).parents[2]
SHAPES = ROOT / 'configs' / 'detr_tiny_1xb32-12e_shapes.py'
MASKS = ROOT / 'configs' / 'detr_tiny_1xb16-10e_shapes_masks.py'
SMALL = {
    'train_dataloader.batch_size': 4,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'train_dataloader.dataset.num_images': 24,
    'val_dataloader.batch_size': 4,
    'val_dataloader.dataset.num_images': 12,
}


def shapes(path: Path = SHAPES, **changes: Any) -> Config:
    config = Config.fromfile(path)
    config.merge_from_dict({**SMALL, **changes})
    return config


def test_these_are_the_batches_of_a_training(tmp_path: Path) -> None:
    """In two epochs, bit for bit: flips, order and images."""
    config = shapes(work_dir=str(tmp_path), randomness=dict(seed=7))
    rows, metainfo = fed_samples(config, 'train', num=6, seed=7, repeat=2)
    assert [len(row) for row in rows] == [2] * 6
    assert metainfo['classes'] == ('circle', 'rectangle', 'triangle')
    runner: Any = DetectionRunner.from_cfg(config)
    loader = runner.build_train_loop(config.train_cfg).dataloader
    # Each row follows one image, in the order of the first epoch.
    position_dataloader(loader, epoch=0)
    batches = list(loader)[:2]
    images = [each for batch in batches for each in batch['inputs']][:6]
    samples = [each for batch in batches for each in batch['data_samples']][:6]
    for (first, _), inputs, sample in zip(rows, images, samples, strict=True):
        np.testing.assert_array_equal(first.image, inputs.flip(0).permute(1, 2, 0))
        assert torch.equal(first.instances.bboxes, sample.gt_instances.bboxes)
        assert first.name == f'image {sample.img_id}'
    position_dataloader(loader, epoch=1)
    second = {
        sample.img_id: inputs
        for batch in loader
        for inputs, sample in zip(batch['inputs'], batch['data_samples'], strict=True)
    }
    for (_, version), sample in zip(rows, samples, strict=True):
        expected = second[sample.img_id].flip(0).permute(1, 2, 0)
        np.testing.assert_array_equal(version.image, expected)
        assert version.epoch == 1
    flipped = [not np.array_equal(one.image, two.image) for one, two in rows]
    assert any(flipped)
    assert not all(flipped)


@pytest.fixture
def coco(tmp_path: Path) -> dict:
    """Two images of different shape, an object each."""
    images = [image(1, 100, 80), image(2, 60, 90)]
    write_images(tmp_path, images)
    objects = [annotation(1, 1, 7, [10, 20, 30, 40]), annotation(2, 2, 2, [6, 9, 12, 18])]
    return dict(
        type='CocoDataset',
        data_root=f'{tmp_path}/',
        ann_file=write_coco(tmp_path, images, objects),
        data_prefix=dict(img=''),
    )


def with_coco(split: str, dataset: dict, *steps: dict, **changes: Any) -> Config:
    train = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), *steps]
    test = [dict(type='LoadImageFromFile'), *steps]
    meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape')
    pack = dict(type='PackDetInputs', meta_keys=meta_keys)
    pipeline = [*(train if split == 'train' else test), pack]
    loader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(dataset, pipeline=pipeline, test_mode=split != 'train'),
    )
    preprocessor = dict(dict(type='DetDataPreprocessor'), **changes)
    return Config({'model': dict(data_preprocessor=preprocessor), f'{split}_dataloader': loader})


def test_padding_and_boxes(coco: dict) -> None:
    config = with_coco('train', coco, pad_size_divisor=32)
    rows, _ = fed_samples(config, 'train', num=5)
    first, second = (row[0] for row in rows)
    assert (first.size, second.size) == ((80, 100), (90, 60))
    for sample in (first, second):
        height, width = sample.size
        original = np.asarray(Image.open(Path(coco['data_root'], sample.name)))
        assert sample.image.shape == (96, 128, 3)
        np.testing.assert_array_equal(sample.image[:height, :width], original)
        # Zero after normalisation is ImageNet's mean.
        assert (sample.image[height:] == [124, 116, 104]).all()
        assert (sample.image[:, width:] == [124, 116, 104]).all()
    assert first.instances.bboxes.tolist() == [[10, 20, 40, 60]]


@pytest.mark.parametrize('listed', [True, False])
def test_validation_has_the_boxes_of_the_file(coco: dict, listed: bool) -> None:
    """Also where the pipeline says neither the factor nor the boxes."""
    config = with_coco('val', coco, dict(type='Resize', scale=(120, 120), keep_ratio=False))
    if listed:
        pack = config.val_dataloader.dataset.pipeline[-1]
        pack.meta_keys = (*pack.meta_keys, 'instances', 'scale_factor')
    rows, _ = fed_samples(config, 'val', num=2)
    boxes = {row[0].name: row[0].instances.bboxes.tolist() for row in rows}
    assert boxes['1.png'][0] == pytest.approx([10 * 1.2, 20 * 1.5, 40 * 1.2, 60 * 1.5])
    assert boxes['2.png'][0] == pytest.approx([6 * 2, 9 / 3 * 4, 18 * 2, 27 / 3 * 4])


def test_a_batch_of_another_size(coco: dict) -> None:
    resize = dict(type='Resize', scale=(64, 64), keep_ratio=False)
    config = with_coco('train', coco, resize, type='MultiScaleDataPreprocessor', sizes=(32,))
    rows, _ = fed_samples(config, 'train', num=1)
    (sample,) = rows[0]
    assert sample.image.shape == (32, 32, 3)
    assert sample.size == (32, 32)
    expected = [10 * 0.32, 20 * 0.4, 40 * 0.32, 60 * 0.4]
    assert sample.instances.bboxes[0].tolist() == pytest.approx(expected)


def test_a_preprocessor_that_cannot_be_undone(coco: dict) -> None:
    config = with_coco('train', coco, type='BaseDataPreprocessor')
    with pytest.raises(ValueError, match='BaseDataPreprocessor has no mean and std'):
        fed_samples(config, 'train', num=1)


def test_masks_and_segments() -> None:
    rows, metainfo = fed_samples(shapes(MASKS), 'train', num=2)
    sample = rows[0][0]
    assert sample.instances.masks.shape == (sample.num_objects, 64, 64)
    visualizer = DetVisualizer()
    visualizer.dataset_meta = metainfo
    drawn = draw_fed(visualizer, sample.image, sample.size, sample.instances)
    ground = sample.instances.masks[sample.instances.labels.tolist().index(3)]
    plain = draw_fed(visualizer, sample.image, sample.size, sample.instances[:0])
    changed = (drawn != plain).any(-1)[::7, ::7]
    assert changed[ground.numpy()].mean() > 0.9

    rows, _ = fed_samples(shapes(MASKS), 'val', num=2)
    sample = rows[0][0]
    assert sample.segmentation is not None
    assert sample.num_objects == len(sample.segmentation.labels) >= 3
    segments = draw_fed(
        visualizer, sample.image, sample.size, sample.instances, sample.segmentation
    )
    plain = draw_fed(visualizer, sample.image, sample.size, sample.instances)
    assert (segments != plain).any(-1).mean() > 0.9


def test_masks_beside_padding() -> None:
    """A mask covers the image alone, whatever resolution it has."""
    pixels = np.full((400, 500, 3), 90, np.uint8)
    for masks in (torch.ones(1, 300, 400), torch.ones(1, 30, 40)):
        fields = dict(bboxes=torch.zeros(1, 4), labels=torch.tensor([0]), masks=masks.bool())
        drawn = draw_fed(DetVisualizer(), pixels, (300, 400), InstanceData(**fields))
        inner = drawn[40:290, 10:390]
        assert (inner != 90).any(-1).all()
        assert (drawn[310:, :] == 90).all(-1).mean() > 0.7
    segments = Segmentation(np.ones((30, 40), np.int32), [1], [0])
    nothing = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64))
    drawn = draw_fed(DetVisualizer(), pixels, (300, 400), nothing, segments)
    assert (drawn[40:290, 10:390] != 90).any(-1).all()
    assert (drawn[310:, :] == 90).all(-1).mean() > 0.7


def test_what_is_no_object_is_left_as_it_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (500, 600, 3), dtype=np.uint8)
    pixels[450:], pixels[:, 500:] = 100, 100
    boxes = torch.tensor([[50.0, 50, 100, 100]])
    one = InstanceData(bboxes=boxes, labels=torch.tensor([0]))
    drawn = draw_fed(DetVisualizer(), pixels, (450, 500), one)
    assert drawn.shape == pixels.shape
    np.testing.assert_array_equal(drawn[150:450, :500], pixels[150:450, :500])
    padding = np.ones((500, 600), bool)
    padding[:450, :500] = False
    hatched = (drawn != pixels).any(-1)
    assert 0.1 < hatched[padding].mean() < 0.3
    # A smaller drawing has the frame of the object at its place.
    small = draw_fed(DetVisualizer(), pixels, (450, 500), one, title='small', max_side=300)
    assert small.shape[1] == 480  # its short side stays at 400
    strip = small.shape[0] - 400
    frame = drawn[75, 50]
    np.testing.assert_array_equal(small[strip + 60, 40], frame)
    sheet = contact_sheet([drawn, small[:100]], columns=2)
    assert sheet.shape == (506, 1212, 3)
    assert (sheet[101:, 606:] == 255).all()


@pytest.fixture
def browse(tmp_path: Path, monkeypatch: Any) -> Any:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: Any) -> None:
        options = [f'{key}={value}' for key, value in SMALL.items()]
        argv = ['browse.py', str(SHAPES), *map(str, arguments), '--cfg-options', *options]
        monkeypatch.setattr(sys, 'argv', argv)
        runpy.run_path(str(ROOT / 'tools' / 'dataset' / 'browse.py'), run_name='__main__')

    return run


def test_the_tool(browse: Any, tmp_path: Path, capsys: Any) -> None:
    browse('--num', 2, '--repeat', 3)
    path = tmp_path / 'work_dirs' / 'browse' / 'detr_tiny_1xb32-12e_shapes_train.png'
    width, height = Image.open(path).size
    cell = 64 * 7 + 6  # small images are drawn larger
    assert width == 3 * cell
    assert 2 * cell < height < 2 * (cell + 30)
    assert '6 pictures of 2 images with ' in capsys.readouterr().out
    browse('--split', 'val', '--num', 3, '--out', 'pictures')
    assert sorted(each.name for each in Path('pictures').iterdir()) == [
        '000_1.png',
        '001_1.png',
        '002_1.png',
    ]
    with pytest.raises(SystemExit):
        browse('--num', 0)
    assert '--num must be 1 or more, not 0' in capsys.readouterr().err
