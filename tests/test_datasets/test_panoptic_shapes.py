"""Masks of the generated shapes, and the generated panoptic set."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmdetr.datasets import PanopticShapesDataset, ShapesDataset
from mmdetr.datasets.panoptic_shapes import GROUND, SKY
from mmdetr.datasets.shapes import CIRCLE, Shape, owner_map
from mmdetr.registry import DATASETS

PACK = [dict(type='LoadAnnotations', with_mask=True), dict(type='PackDetInputs')]


def tight_box(mask: np.ndarray) -> list[int]:
    ys, xs = np.nonzero(mask)
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def test_pixels_of_a_circle_and_a_rectangle_by_hand():
    colour = np.zeros(3, dtype=np.float32)
    # The rectangle lies in front of the circle.
    circle = Shape(CIRCLE, (1, 1, 5, 5), [], colour)
    corners = [(3.0, 2.0), (6.0, 2.0), (6.0, 4.0), (3.0, 4.0)]
    rectangle = Shape(1, (3, 2, 6, 4), corners, colour)
    assert owner_map((6, 7), [circle, rectangle]).tolist() == [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 0, 0, 0],
        [0, 1, 1, 2, 2, 2, 0],
        [0, 1, 1, 2, 2, 2, 0],
        [0, 0, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]


def test_masks_lie_on_boxes_and_pictures():
    plain = ShapesDataset(num_images=30, image_size=(48, 80), seed=3, pipeline=[])
    masked = ShapesDataset(
        num_images=30, image_size=(48, 80), seed=3, with_mask=True, pipeline=PACK
    )
    for i in range(30):
        sample = masked[i]['data_samples']
        np.testing.assert_array_equal(masked[i]['inputs'], plain[i]['img'].transpose(2, 0, 1))
        gt = sample.gt_instances
        assert gt.masks.shape == (len(gt), 48, 80)
        assert gt.masks.sum(0).max() <= 1  # nobody shares a pixel
        areas = (gt.bboxes[:, 2:] - gt.bboxes[:, :2]).prod(1)
        for mask, box, label, area in zip(
            gt.masks.numpy(), gt.bboxes.numpy(), gt.labels, areas, strict=True
        ):
            tight = tight_box(mask)
            assert (np.array(tight) >= box - 0.51)[:2].all()
            assert (np.array(tight) <= box + 0.51)[2:].all()
            # Of the box, less what others hide of it.
            share = {0: np.pi / 4, 1: 1.0, 2: 0.5}[int(label)]
            assert 0.6 * share * area < mask.sum() < 1.1 * share * area
    assert all('mask' not in each for each in plain[0]['instances'])


def test_panoptic_contents():
    dataset = DATASETS.build(
        dict(type='PanopticShapesDataset', num_images=20, image_size=(40, 60), pipeline=[])
    )
    assert dataset.metainfo['classes'] == ('circle', 'rectangle', 'triangle', 'ground', 'sky')
    assert dataset.metainfo['isthing'] == (True, True, True, False, False)
    for i in range(20):
        results = dataset[i]
        ids, segments = results['segment_ids'], results['segments']
        assert ids.shape == results['img'].shape[:2] == (40, 60)
        assert set(np.unique(ids)) == {each['id'] for each in segments}  # no void
        labels = [each['label'] for each in segments]
        assert labels == [each['bbox_label'] for each in results['instances']]
        assert labels[-2:] == [GROUND, SKY]
        assert max(labels[:-2]) < GROUND
        for segment, instance in zip(segments, results['instances'], strict=True):
            np.testing.assert_array_equal(coco_mask.decode(instance['mask']), ids == segment['id'])
        # Sky is above ground, and its box is the one around its pixels.
        ground, sky = (ids == each['id'] for each in segments[-2:])
        assert results['instances'][-1]['bbox'] == tight_box(sky)
        assert np.nonzero(sky)[0].mean() < np.nonzero(ground)[0].mean()
        img = results['img'].astype(float)
        assert img[sky].mean() > img[ground].mean() + 40


def test_panoptic_pictures_depend_on_seed_and_index_alone():
    first = PanopticShapesDataset(num_images=5, seed=4, pipeline=[])
    again = PanopticShapesDataset(num_images=9, seed=4, indices=[3], pipeline=[])
    other = PanopticShapesDataset(num_images=5, seed=5, pipeline=[])
    np.testing.assert_array_equal(first[3]['img'], again[0]['img'])
    np.testing.assert_array_equal(first[3]['segment_ids'], again[0]['segment_ids'])
    assert first.get_data_info(3)['instances'] == again.get_data_info(0)['instances']
    assert (first[3]['img'] != other[3]['img']).any()


def test_panoptic_targets():
    gt = PanopticShapesDataset(num_images=2, pipeline=PACK)[1]['data_samples'].gt_instances
    assert gt.masks.sum(0).tolist() == np.ones((64, 64)).tolist()
    assert len(gt.bboxes) == len(gt.labels) == len(gt.masks)
    with pytest.raises(TypeError, match='leave out with_mask'):
        PanopticShapesDataset(num_images=2, with_mask=False)
