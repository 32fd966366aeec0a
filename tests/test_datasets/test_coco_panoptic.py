"""Panoptic data: the authors' targets exactly, and files that contradict themselves."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmdetr.datasets import CocoPanopticDataset
from mmdetr.datasets.transforms import PackDetInputs, RandomFlip, UnreadableImageError
from mmdetr.datasets.transforms.crop import RandomCrop
from tests.helpers.panoptic import read_panoptic_case, write_ids, write_panoptic

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets'
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadPanopticAnnotations', with_mask=True)]


@pytest.fixture(scope='module')
def case():
    return read_panoptic_case()


@pytest.fixture
def ann_file(tmp_path, case):
    return write_panoptic(tmp_path, *case)


def build(ann_file: str, pipeline=(*LOAD, dict(type='PackDetInputs')), **kwargs):
    folder = Path(ann_file).parent
    prefix = dict(img=str(folder / 'images'), seg=str(folder / 'maps'))
    return CocoPanopticDataset(ann_file, data_prefix=prefix, pipeline=list(pipeline), **kwargs)


def expected_masks(arrays: dict, name: str, width: int) -> np.ndarray:
    return np.unpackbits(arrays[f'{name}_masks'], axis=-1)[..., :width].astype(bool)


def category_ids(dataset: CocoPanopticDataset, labels: torch.Tensor) -> list[int]:
    return [dataset.metainfo['cat_ids'][label] for label in labels.tolist()]


def test_classes_are_things_and_stuff_by_category_id(ann_file):
    meta = build(ann_file).metainfo
    assert meta['cat_ids'] == (1, 3, 17, 149, 184, 187)
    assert meta['classes'][3:] == ('road', 'tree-merged', 'sky-other-merged')
    assert meta['isthing'] == (True, True, True, False, False, False)


def test_targets_are_the_authors(ann_file, case):
    """Images sorted by id, crowd segments kept, boxes one pixel narrower than their segments."""
    dataset = build(ann_file)
    for i in range(3):
        sample = dataset[i]['data_samples']
        assert sample.img_id == case[1][f'target{i}_image_id'].item()
        gt = sample.gt_instances
        assert category_ids(dataset, gt.labels) == case[1][f'target{i}_labels'].tolist()
        np.testing.assert_array_equal(gt.bboxes, case[1][f'target{i}_boxes'])
        width = sample.ori_shape[1]
        np.testing.assert_array_equal(gt.masks, expected_masks(case[1], f'target{i}', width))


def test_resized_targets_are_the_authors(ann_file, case):
    size, most = case[0]['resize']['size'], case[0]['resize']['max_size']
    resize = dict(type='Resize', scale=(size, most), keep_ratio=True)
    dataset = build(ann_file, [*LOAD, resize, dict(type='PackDetInputs')])
    for i in range(3):
        sample = dataset[i]['data_samples']
        height, width = case[1][f'resized{i}_size'].tolist()
        assert sample.img_shape == (height, width)
        gt = sample.gt_instances
        np.testing.assert_array_equal(gt.masks, expected_masks(case[1], f'resized{i}', width))
        left_top, right_bottom = gt.bboxes[:, :2], gt.bboxes[:, 2:]
        cxcywh = torch.cat(((left_top + right_bottom) / 2, right_bottom - left_top), dim=1)
        theirs = case[1][f'resized{i}_boxes']  # normalised
        cxcywh /= torch.tensor([width, height, width, height])
        np.testing.assert_allclose(cxcywh, theirs, rtol=0, atol=1e-6)


def test_cropped_and_flipped_targets_are_the_authors(ann_file, case, monkeypatch):
    """The segment of one pixel has a box without size and goes; a crowd outside goes, too."""
    top, left, height, width = case[0]['crop']
    spans = iter([(top, height), (left, width)] * 3)
    monkeypatch.setattr(RandomCrop, '_span', lambda *_: next(spans))
    dataset = build(ann_file, LOAD)
    for i in range(3):
        results = RandomFlip(prob=1.0)(RandomCrop(1, 1)(dataset[i]))
        gt = PackDetInputs()(results)['data_samples'].gt_instances
        name = f'cropped_flipped{i}'
        assert category_ids(dataset, gt.labels) == case[1][f'{name}_labels'].tolist()
        np.testing.assert_array_equal(gt.bboxes, case[1][f'{name}_boxes'])
        np.testing.assert_array_equal(gt.masks, expected_masks(case[1], name, width))


def test_masks_only_where_asked_for(ann_file, case):
    load = [LOAD[0], dict(type='LoadPanopticAnnotations'), dict(type='PackDetInputs')]
    gt = build(ann_file, load)[0]['data_samples'].gt_instances
    assert set(gt.keys()) == {'bboxes', 'labels'}
    np.testing.assert_array_equal(gt.bboxes, case[1]['target0_boxes'])


def test_listed_instances_have_the_boxes_of_the_file(ann_file):
    for test_mode, flag in ((True, 1), (False, 0)):
        info = build(ann_file, test_mode=test_mode).get_data_info(0)
        assert len(info['instances']) == len(info['segments']) == 7
        crowd = info['instances'][5]
        assert crowd['bbox'] == [45, 29, 56, 40]
        assert (crowd['area'], crowd['ignore_flag']) == (121, flag)


def test_segments_of_other_classes_are_left_out(ann_file, case):
    dataset = build(ann_file, metainfo=dict(classes=['road', 'person']))
    assert dataset.metainfo['isthing'] == (False, True)
    gt = dataset[0]['data_samples'].gt_instances
    assert gt.labels.tolist() == [0, 1, 1, 1]
    np.testing.assert_array_equal(gt.bboxes, case[1]['target0_boxes'][[1, 2, 3, 5]])


def test_image_without_segments(ann_file, case):
    path = Path(ann_file)
    content = json.loads(path.read_text())
    content['annotations'][2]['segments_info'] = []  # of image 1
    path.write_text(json.dumps(content))
    write_ids(path.parent / 'maps' / '000000000001.png', np.zeros((40, 56), dtype=np.int32))
    gt = build(ann_file, [*LOAD, dict(type='Resize', scale=(20, 20)), dict(type='PackDetInputs')])[
        0
    ]['data_samples'].gt_instances
    assert gt.bboxes.shape == (0, 4)
    assert gt.masks.shape == (0, 20, 20)


def change_map(ids: np.ndarray, kind: str) -> np.ndarray | None:
    if kind == 'missing':
        return None
    if kind == 'other size':
        return ids[:, :-1]
    if kind == 'unknown id':
        ids[0, 0] = 77
    else:
        ids[ids == 6475681] = 0  # the segment of one pixel
    return ids


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        ('missing', r'image id 1: panoptic PNG .*000000000001\.png does not exist'),
        ('other size', 'image id 1: .*it is 55x40 pixels, but the annotation file says 56x40'),
        ('unknown id', 'image id 1: .*it has ids 77 that the annotation file does not know'),
        ('lost id', 'image id 1: .*it has none of ids 6475681'),
    ],
)
def test_png_that_contradicts_the_file(ann_file, case, kind, message):
    """An error in testing; in training another image takes its place, and a limit holds."""
    path = Path(ann_file).parent / 'maps' / '000000000001.png'
    ids = change_map(case[1]['gt_ids0'].copy(), kind)
    path.unlink()
    if ids is not None:
        write_ids(path, ids)
    with pytest.raises(UnreadableImageError, match=message):
        build(ann_file, test_mode=True)[0]
    dataset = build(ann_file)
    np.random.seed(0)
    assert dataset[0]['data_samples'].img_id in (2, 3)
    with pytest.raises(RuntimeError, match='1 images cannot be read'):
        build(ann_file, max_unreadable=0)[0]


def test_png_of_another_kind(ann_file):
    path = Path(ann_file).parent / 'maps' / '000000000001.png'
    Image.new('L', (56, 40)).save(path)
    with pytest.raises(UnreadableImageError, match='PNG in mode L'):
        build(ann_file, test_mode=True)[0]
    path.write_bytes(b'\x89PNG\r\n')
    with pytest.raises(UnreadableImageError, match='cannot read panoptic PNG'):
        build(ann_file, test_mode=True)[0]


def annotations_key(content: dict) -> dict:
    return content['annotations'][0]['segments_info'][0]


def edit(key: str, value):
    def change(content: dict) -> None:
        annotations_key(content)[key] = value

    return change


def twice(content: dict) -> None:
    segments = content['annotations'][0]['segments_info']
    segments.append(segments[0])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda c: c['annotations'].pop(), '1 images have no annotation, the first is id 1'),
        (lambda c: c['annotations'].append(c['annotations'][0]), 'image_id 2 is used 2 times'),
        (lambda c: c['annotations'][0].update(image_id=9), 'image_id 9 is not in the file'),
        (lambda c: [a.pop('segments_info') for a in c['annotations']], 'no panoptic annotation'),
        (lambda c: annotations_key(c).pop('id'), "image id 2: a segment has no key 'id'"),
        (lambda c: c['categories'][0].pop('isthing'), "id 1: the key 'isthing' is missing"),
        (lambda c: c['categories'][0].update(isthing=2), "'isthing' must be 0 or 1, found 2"),
        (twice, 'image id 2: segment id 11637076 is used 2 times'),
        (edit('id', 0), r'image id 2: segment id 0 is not in 1\.\.16777215'),
        (edit('category_id', 2), 'image id 2: category_id 2 of segment 11637076'),
        (edit('bbox', [1, 2, 3]), "image id 2: 'bbox' of segment 11637076 must be four numbers"),
        (edit('bbox', [1, 2, 3, float('nan')]), "'bbox' of segment 11637076"),
        (edit('area', 'big'), "'area' of segment 11637076"),
        (edit('iscrowd', 3), "'iscrowd' of segment 11637076"),
        (lambda c: c['annotations'][0]['segments_info'].append(5), 'image id 2: 5 is not an obj'),
    ],
)
def test_files_that_contradict_themselves(ann_file, change, message):
    path = Path(ann_file)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as raised:
        build(ann_file)
    assert str(path) in str(raised.value)
    assert '\n' not in str(raised.value)


def test_file_without_annotations(ann_file):
    """As of a test set with hidden ground truth."""
    path = Path(ann_file)
    content = json.loads(path.read_text())
    del content['annotations']
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="no list 'annotations'"):
        build(ann_file)
    info = build(ann_file, test_mode=True).get_data_info(0)
    assert 'segments' not in info
    with pytest.raises(ValueError, match='image id 1 has no panoptic PNG'):
        build(ann_file, test_mode=True)[0]


def test_arguments():
    with pytest.raises(ValueError, match='needs ann_file'):
        CocoPanopticDataset()
    with pytest.raises(ValueError, match="'seg', the folder of PNGs"):
        CocoPanopticDataset('x.json', data_prefix=dict(img=''))
    with pytest.raises(TypeError, match='LoadPanopticAnnotations'):
        CocoPanopticDataset('x.json', with_mask=True)


@pytest.mark.parametrize('name', ['coco_panoptic', 'custom_coco_panoptic'])
def test_pipelines_of_the_configs(ann_file, name):
    """Masks cover boxes and picture in training; the metrics find their ground truth in testing."""
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    pipeline = cfg.train_dataloader.dataset.pipeline
    dataset = build(ann_file, pipeline)
    sizes = set()
    for seed in range(6):
        np.random.seed(seed)
        data = dataset[seed % 3]
        gt = data['data_samples'].gt_instances
        assert gt.masks.shape == (len(gt), *data['inputs'].shape[1:])
        assert gt.masks.dtype == torch.bool
        assert gt.masks.sum(0).max() == 1  # segments share no pixel
        sizes.add(data['inputs'].shape)
    assert len(sizes) > 3
    sample = build(ann_file, cfg.test_dataloader.dataset.pipeline, test_mode=True)[0]
    assert {'segments', 'seg_map_path'} <= set(sample['data_samples'].metainfo_keys())
    wants_boxes = name == 'custom_coco_panoptic'
    assert ('instances' in sample['data_samples']) == wants_boxes
    assert [metric.type for metric in cfg.test_evaluator] == ['CocoMetric', 'CocoPanopticMetric']
