"""The pipelines of the dataset configs: pixels as the authors', boxes on their objects."""

import json
from pathlib import Path

import mmcv.transforms
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from PIL import Image
from torchvision.transforms import functional

from mmdetr.registry import METRICS, TRANSFORMS
from mmdetr.utils.resizing import short_side_size
from tests.helpers.coco_files import annotation, image, write_coco, write_images

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets'
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def config(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}_detection.py')


def dot_image(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Bright rectangles on black, far apart, and the boxes around them."""
    img = np.zeros((height, width, 3), dtype=np.uint8)
    bboxes = []
    for left in range(20, width - 60, 90):
        for top in range(20, height - 60, 80):
            img[top : top + 30, left : left + 40] = 255
            bboxes.append([left, top, left + 40, top + 30])
    return img, np.array(bboxes)


@pytest.mark.parametrize('name', ['RandomChoice', 'RandomChoiceResize'])
def test_mmcv_transforms_are_found_as_they_are(name):
    assert TRANSFORMS.get(name) is getattr(mmcv.transforms, name)


@pytest.mark.parametrize(
    'size', [(64, 48), (48, 64), (500, 375), (333, 500), (800, 850), (200, 100)]
)
@pytest.mark.parametrize('suffix', ['png', 'jpg'])
def test_pixels_equal_the_authors(tmp_path, size, suffix):
    path = tmp_path / f'image.{suffix}'
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    data = Compose(config('coco').test_pipeline)(
        dict(img_path=str(path), img_id=0, width=size[0], height=size[1])
    )
    rgb = data['inputs'].flip(0).float()
    ours = (rgb - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)

    with Image.open(path) as opened:
        resized = opened.convert('RGB').resize(
            short_side_size(size, 800, 1333), Image.Resampling.BILINEAR
        )
    theirs = functional.normalize(
        functional.to_tensor(resized), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_boxes_stay_on_their_objects(tmp_path):
    img, bboxes = dot_image(427, 640)
    Image.fromarray(img).save(tmp_path / 'dots.png')
    instances = [
        dict(bbox=bbox, bbox_label=label, ignore_flag=0)
        for label, bbox in enumerate(bboxes.tolist())
    ]
    pipeline = Compose(config('coco').train_pipeline)
    short_sides, flips, counts = set(), set(), set()
    for seed in range(25):
        np.random.seed(seed)
        data = pipeline(
            dict(
                img_path=str(tmp_path / 'dots.png'),
                img_id=0,
                width=640,
                height=427,
                instances=instances,
            )
        )
        gt = data['data_samples'].gt_instances
        channel = data['inputs'][0]
        assert channel.shape == data['data_samples'].img_shape
        covered = torch.zeros_like(channel, dtype=torch.bool)
        for x1, y1, x2, y2 in gt.bboxes.tolist():
            assert 0 <= x1 < x2 <= channel.shape[1]
            assert 0 <= y1 < y2 <= channel.shape[0]
            # The filter blurs edges: inside the box it is bright, outside it is dark.
            inner = channel[round(y1 + 3) : round(y2 - 3), round(x1 + 3) : round(x2 - 3)]
            assert (inner > 200).all()
            covered[
                max(round(y1 - 4), 0) : round(y2 + 4), max(round(x1 - 4), 0) : round(x2 + 4)
            ] = True
        assert (channel[~covered] < 50).all()
        short_sides.add(min(channel.shape))
        flips.add(data['data_samples'].flip)
        counts.add(len(gt))
    assert short_sides <= set(range(480, 801, 32))
    assert len(short_sides) > 5
    assert flips == {True, False}
    assert len(instances) in counts
    assert min(counts) < len(instances)  # half of the images are cropped


def test_train_pipeline_is_the_papers():
    resize, flip, choice = None, None, None
    for step in config('coco').train_pipeline:
        flip = step if step['type'] == 'RandomFlip' else flip
        choice = step if step['type'] == 'RandomChoice' else choice
    scales = [(short, 1333) for short in (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)]
    resize = dict(type='RandomChoiceResize', scales=scales, keep_ratio=True)
    assert flip == dict(type='RandomFlip', prob=0.5)
    assert choice.transforms == [
        [resize],
        [
            resize | dict(scales=[(400, None), (500, None), (600, None)]),
            dict(type='RandomCrop', min_size=384, max_size=600),
            resize,
        ],
    ]


def test_loader_of_shapes():
    for name in ('train_dataloader', 'val_dataloader'):
        loader_cfg = config('shapes')[name]
        loader_cfg.update(num_workers=0, persistent_workers=False)
        loader_cfg.dataset.num_images = 40
        loader = Runner.build_dataloader(loader_cfg, seed=0)
        batch = next(iter(loader))
        assert [each.shape for each in batch['inputs']] == [(3, 64, 64)] * 32
        sample = batch['data_samples'][0]
        assert ('gt_instances' in sample) == (name == 'train_dataloader')
        assert ('instances' in sample.metainfo_keys()) == (name == 'val_dataloader')


def test_coco_metric_scores_shapes_without_a_file():
    cfg = config('shapes')
    cfg.val_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.val_dataloader.dataset.num_images = 40
    loader = Runner.build_dataloader(cfg.val_dataloader, seed=0)
    metric = METRICS.build(cfg.val_evaluator)
    metric.dataset_meta = loader.dataset.metainfo
    for batch in loader:
        for sample in batch['data_samples']:
            bboxes = torch.tensor([each['bbox'] for each in sample.instances])
            labels = torch.tensor([each['bbox_label'] for each in sample.instances])
            # Triangles are called rectangles.
            sample.pred_instances = InstanceData(
                bboxes=bboxes, labels=labels.clamp(max=1), scores=torch.ones(len(labels))
            )
        metric.process(batch, [sample.to_dict() for sample in batch['data_samples']])
    numbers = metric.evaluate(len(loader.dataset))
    assert numbers['coco/bbox_AR@100'] == pytest.approx(2 / 3)
    assert 1 / 3 < numbers['coco/bbox_mAP'] < 2 / 3


def test_shapes_of_training_and_validation_differ():
    cfg = config('shapes')
    assert cfg.train_dataloader.dataset.seed != cfg.val_dataloader.dataset.seed
    assert cfg.train_dataloader.dataset.num_images == 2000
    assert cfg.val_dataloader.dataset.num_images == 200


CHILD = """
_base_ = [{base!r}]
own = dict(data_root={root!r}, ann_file='coco.json', data_prefix=dict(img=''))
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=own)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=own)
test_dataloader = val_dataloader
"""


def test_child_of_the_custom_config(tmp_path):
    images = [image(number, 64, 48) for number in range(3)]
    crowd = annotation(2, 1, 90, [5, 5, 20, 20], iscrowd=1)
    write_coco(tmp_path, images, [annotation(1, 1, 7, [10, 10, 20, 20]), crowd])
    write_images(tmp_path, images)
    base = str(CONFIGS / 'custom_coco_detection.py')
    (tmp_path / 'child.py').write_text(CHILD.format(base=base, root=str(tmp_path)))
    child = Config.fromfile(tmp_path / 'child.py')
    assert json.loads(json.dumps(child.val_evaluator)) == dict(type='CocoMetric')

    train = next(iter(Runner.build_dataloader(child.train_dataloader, seed=0)))
    assert len(train['inputs']) == 2
    val = list(Runner.build_dataloader(child.test_dataloader, seed=0))
    assert [batch['data_samples'][0].img_id for batch in val] == [0, 1, 2]
    assert val[1]['inputs'][0].shape == (3, 800, 1066)
    assert val[1]['data_samples'][0].instances == [
        dict(bbox=[10, 10, 30, 30], bbox_label=1, ignore_flag=0, area=400),
        dict(bbox=[5, 5, 25, 25], bbox_label=2, ignore_flag=1, area=400),
    ]
