"""Boxes, labels, masks and fields of one's own stay together on their way through a pipeline."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.dataset import Compose
from PIL import Image

from mmdetr.datasets import CocoDataset
from mmdetr.datasets.transforms import (
    LoadAnnotations,
    PackDetInputs,
    RandomCrop,
    add_object_field,
    keep_objects,
    mask_loading,
    object_fields,
)
from mmdetr.registry import TRANSFORMS
from tests.helpers.coco_files import annotation, image, write_coco, write_images

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets'


@TRANSFORMS.register_module()
class LoadBoxCodes(BaseTransform):
    """Give each object a row that says which object it is, and its label once more."""

    def transform(self, results: dict) -> dict:
        rows = np.arange(len(results['gt_bboxes']))
        add_object_field(results, 'codes', np.stack((rows, results['gt_bboxes_labels']), axis=1))
        return results


def rectangle(x1: int, y1: int, x2: int, y2: int) -> list:
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def tight_box(mask: np.ndarray) -> list[int]:
    ys, xs = np.nonzero(mask)
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def test_objects_are_dropped_from_every_field():
    results = dict(
        gt_bboxes=np.arange(12.0).reshape(3, 4),
        gt_bboxes_labels=np.array([5, 6, 7]),
        gt_masks=np.arange(3)[:, None, None] * np.ones((3, 2, 2)),
        gt_ignore_flags=np.array([False, True, False]),
        gt_seg_map=np.zeros((2, 2)),  # of the image
    )
    add_object_field(results, 'ages', [30, 40, 50])
    keep_objects(results, np.array([True, False, True]))
    assert results['gt_bboxes'][:, 0].tolist() == [0, 8]
    assert results['gt_bboxes_labels'].tolist() == [5, 7]
    assert results['gt_masks'][:, 0, 0].tolist() == [0, 2]
    assert results['gt_ignore_flags'].tolist() == [False, False]
    assert results['gt_ages'].tolist() == [30, 50]
    assert results['gt_seg_map'].shape == (2, 2)
    assert object_fields(results) == dict(
        gt_bboxes='bboxes',
        gt_bboxes_labels='labels',
        gt_ignore_flags='ignore_flags',
        gt_masks='masks',
        gt_ages='ages',
    )


def test_rows_must_match():
    results = dict(gt_bboxes=np.zeros((2, 4)), gt_bboxes_labels=np.zeros(2))
    with pytest.raises(ValueError, match=r"row for each object.*'gt_bboxes': 2.*'gt_ages': 3"):
        add_object_field(results, 'ages', [1, 2, 3])
    results = dict(gt_bboxes=np.zeros((2, 4)), gt_bboxes_labels=np.zeros(1))
    with pytest.raises(ValueError, match=r"'gt_bboxes_labels': 1"):
        keep_objects(results, np.array([True, False]))


def test_added_fields_are_those_of_one_image():
    first, second = dict(gt_bboxes=np.zeros((1, 4))), dict(gt_bboxes=np.zeros((1, 4)))
    add_object_field(first, 'ages', [1])
    assert 'gt_ages' not in object_fields(second)


def test_packed_together():
    results = dict(
        img=np.zeros((4, 6, 3), np.uint8),
        gt_bboxes=np.zeros((2, 4), np.float32),
        gt_bboxes_labels=np.array([3, 4]),
        gt_masks=np.random.default_rng(0).random((2, 4, 6))[..., ::-1] > 0.5,
    )
    add_object_field(results, 'ages', np.array([1.5, 2.5]))
    instances = PackDetInputs()(results)['data_samples'].gt_instances
    assert set(instances.keys()) == {'bboxes', 'labels', 'masks', 'ages'}
    assert instances.masks.dtype == torch.bool
    np.testing.assert_array_equal(instances.masks, results['gt_masks'])
    assert instances[instances.labels == 4].ages.tolist() == [2.5]


def test_masks_of_another_size_than_the_image():
    results = dict(
        img=np.zeros((4, 6, 3), np.uint8), img_id=7, gt_masks=np.zeros((2, 4, 7), dtype=bool)
    )
    with pytest.raises(ValueError, match=r'image id 7.*\(4, 6\) and \(4, 7\).*gt_masks'):
        PackDetInputs()(results)


def crop_of(results: dict) -> dict:
    return RandomCrop(20, 40)(
        results | dict(img=np.zeros((70, 90, 3), np.uint8), img_shape=(70, 90))
    )


def test_crop_of_drawn_rectangles_agrees_with_their_boxes():
    np.random.seed(0)
    boxes = [[0, 0, 10, 10], [20, 30, 60, 50], [0, 0, 90, 70], [80, 60, 90, 70], [40, 5, 70, 45]]
    instances = [
        dict(bbox=box, bbox_label=label, ignore_flag=0, mask=rectangle(*box))
        for label, box in enumerate(boxes)
    ]
    load = LoadAnnotations(with_mask=True)
    kept = set()
    for _ in range(100):
        results = load(dict(instances=instances, width=90, height=70))
        results = crop_of(LoadBoxCodes()(results))
        assert results['gt_masks'].shape[1:] == results['img_shape']
        for mask, box in zip(results['gt_masks'], results['gt_bboxes'], strict=True):
            assert tight_box(mask) == box.tolist()
        labels = results['gt_bboxes_labels'].tolist()
        assert results['gt_codes'].tolist() == [[label, label] for label in labels]
        kept.add(len(labels))
    assert len(kept) > 2


def test_box_in_the_crop_whose_object_is_not():
    """A triangle in the upper left half of its box, and a crop of the lower right corner."""
    mask = [[0, 0, 90, 0, 0, 70]]
    instances = [dict(bbox=[0, 0, 90, 70], bbox_label=0, ignore_flag=0, mask=mask)]
    np.random.seed(0)
    seen = set()
    for _ in range(50):
        results = crop_of(
            LoadAnnotations(with_mask=True)(dict(instances=instances, width=90, height=70))
        )
        assert len(results['gt_bboxes']) == len(results['gt_masks']) == 1
        seen.add(bool(results['gt_masks'].any()))
    assert seen == {True, False}


@pytest.fixture
def folder(tmp_path):
    """Bright rectangles on black: polygons, run lengths, a crowd, and an image without objects."""
    pixels = np.zeros((427, 640, 3), dtype=np.uint8)
    annotations = []
    for left in range(20, 580, 90):
        for top in range(20, 367, 80):
            pixels[top : top + 30, left : left + 40] = 255
            number = len(annotations) + 1
            bitmap = np.zeros((427, 640), dtype=np.uint8)
            bitmap[top : top + 30, left : left + 40] = 1
            flat = np.flatnonzero(np.diff(bitmap.T.ravel(), prepend=0, append=0))
            counts = np.diff(flat, prepend=0, append=bitmap.size).tolist()
            rle = dict(size=[427, 640], counts=counts)
            polygon = rectangle(left, top, left + 40, top + 30)
            segmentation = rle if number % 2 else polygon
            box = [left, top, 40, 30]
            annotations.append(annotation(number, 1, 7, box, segmentation=segmentation))
    crowd = dict(size=[427, 640], counts=[0, 427 * 640])
    annotations.append(annotation(99, 1, 2, [0, 0, 640, 427], segmentation=crowd, iscrowd=1))
    images = [image(1, 640, 427), image(2, 640, 427)]
    write_images(tmp_path, images)
    Image.fromarray(pixels).save(tmp_path / '1.png')
    write_coco(tmp_path, images, annotations)
    return tmp_path


def with_masks(name: str) -> list:
    pipeline = Config.fromfile(CONFIGS / f'{name}.py').train_pipeline
    (load,) = (step for step in pipeline if step['type'] == 'LoadAnnotations')
    load['with_mask'] = True
    pipeline.insert(pipeline.index(load) + 1, dict(type='LoadBoxCodes'))
    return pipeline


def test_training_pipeline_keeps_masks_on_boxes_and_pixels(folder):
    """From the file through flip, crop and resizing, on the pipeline of the COCO config."""
    dataset = CocoDataset(
        'coco.json', data_root=str(folder), with_mask=True, pipeline=with_masks('coco_detection')
    )
    flips, counts = set(), set()
    for seed in range(12):
        np.random.seed(seed)
        data = dataset[0]
        gt, meta = data['data_samples'].gt_instances, data['data_samples']
        bright = data['inputs'][0] > 127
        assert gt.masks.shape == (len(gt), *bright.shape)
        for mask, box in zip(gt.masks.numpy(), gt.bboxes.numpy(), strict=True):
            # A pixel by each of two steps; the second enlarges the first one's up to twice.
            if mask.any():
                np.testing.assert_allclose(tight_box(mask), box, rtol=0, atol=3.1)
            else:
                assert min(box[2:] - box[:2]) < 3.1
        differ = gt.masks.any(0) != bright if len(gt) else bright
        assert differ.sum() < 0.15 * max(bright.sum(), 100)
        assert (gt.codes[:, 1] == gt.labels).all()
        assert (gt.codes[:, 0].diff() > 0).all()
        flips.add(meta.flip)
        counts.add(len(gt))
    assert flips == {True, False}
    assert len(counts) > 2
    empty = dataset[1]
    assert empty['data_samples'].gt_instances.masks.shape == (0, *empty['inputs'].shape[1:])


def test_empty_masks_are_kept_and_counted(monkeypatch):
    """The second polygon is thinner than a pixel; an object is not lost for its mask."""
    load = LoadAnnotations(with_mask=True)
    sliver = [[5, 5, 60, 5.01, 60, 5.02]]
    instances = [
        dict(bbox=[0, 0, 9, 9], bbox_label=0, ignore_flag=0, mask=rectangle(0, 0, 9, 9)),
        dict(bbox=[5, 5, 60, 5.02], bbox_label=1, ignore_flag=0, mask=sliver),
    ]
    messages: list[str] = []
    monkeypatch.setattr(mask_loading, 'print_log', lambda text, **_: messages.append(text))
    for img_id in [*range(1, 13), *range(1, 13)]:
        results = load(dict(img_id=img_id, instances=instances, width=90, height=70))
    assert results['gt_masks'].any((1, 2)).tolist() == [True, False]
    assert results['gt_bboxes_labels'].tolist() == [0, 1]
    assert [message.split(':')[0] for message in messages] == ['1 images', '10 images']
    assert '1, 2, 3' in messages[1]


def test_boxes_and_pixels_are_those_without_masks(folder):
    cfg = Config.fromfile(CONFIGS / 'coco_detection.py')
    plain = CocoDataset('coco.json', data_root=str(folder), pipeline=cfg.train_pipeline)
    masked = CocoDataset(
        'coco.json', data_root=str(folder), with_mask=True, pipeline=with_masks('coco_detection')
    )
    assert all('mask' not in each for each in plain.get_data_info(0)['instances'])
    for seed in range(5):
        np.random.seed(seed)
        one = plain[0]
        np.random.seed(seed)
        other = masked[0]
        assert torch.equal(one['inputs'], other['inputs'])
        one_gt, other_gt = one['data_samples'].gt_instances, other['data_samples'].gt_instances
        assert set(one_gt.keys()) == {'bboxes', 'labels'}
        assert torch.equal(one_gt.bboxes, other_gt.bboxes)
        assert torch.equal(one_gt.labels, other_gt.labels)


def test_dataset_without_masks(folder):
    pipeline = Compose([dict(type='LoadAnnotations', with_mask=True)])
    dataset = CocoDataset('coco.json', data_root=str(folder), pipeline=pipeline.transforms)
    with pytest.raises(ValueError, match=r'image id 1.*set with_mask=True of the dataset'):
        dataset[0]
