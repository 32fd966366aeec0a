import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from mmdetr.datasets import CocoDataset, ShapesDataset
from mmdetr.datasets.shapes import (
    CIRCLE,
    MAX_OVERLAP,
    PLACING_TRIES,
    RECTANGLE,
    TRIANGLE,
    draw,
    overlap,
    random_scene,
)
from mmdetr.registry import DATASETS
from tests.helpers.coco_files import coco_content

PACK = [dict(type='LoadAnnotations'), dict(type='PackDetInputs')]


def pixels(dataset: ShapesDataset, idx: int) -> np.ndarray:
    return dataset[idx]['img']


def test_contents():
    dataset = DATASETS.build(dict(type='ShapesDataset', num_images=40))
    assert len(dataset) == 40
    assert dataset.metainfo['classes'] == ('circle', 'rectangle', 'triangle')
    labels = []
    for idx in range(40):
        results = dataset[idx]
        assert results['img'].shape == (64, 64, 3)
        assert results['img'].dtype == np.uint8
        assert results['img_shape'] == results['ori_shape'] == (64, 64)
        assert results['img_id'] == idx
        assert 1 <= len(results['instances']) <= 3
        labels += dataset.get_cat_ids(idx)
    assert set(labels) == {0, 1, 2}


def test_depends_on_seed_and_index_alone():
    first, again = ShapesDataset(num_images=10, seed=4), ShapesDataset(num_images=30, seed=4)
    other = ShapesDataset(num_images=10, seed=5)
    subset = ShapesDataset(num_images=10, seed=4, indices=[7, 2])
    for idx in (7, 2, 7):
        np.random.seed(idx)
        np.testing.assert_array_equal(pixels(first, idx), pixels(again, idx))
        assert first.get_data_info(idx)['instances'] == again.get_data_info(idx)['instances']
        assert (pixels(first, idx) != pixels(other, idx)).any()
    np.testing.assert_array_equal(pixels(subset, 0), pixels(first, 7))
    np.testing.assert_array_equal(pixels(subset, 1), pixels(first, 2))


def scene(size: tuple[int, int], seed: int):
    """Image without shapes, image with the scene's single shape, and the shape."""
    background, shapes = random_scene(size, 1, 1, np.random.default_rng(seed))
    empty, full = (
        draw(size, background, drawn, np.random.default_rng(0)).astype(int)
        for drawn in ([], shapes)
    )
    return empty, full, shapes[0]


@settings(max_examples=60, deadline=None)
@given(height=st.integers(40, 120), width=st.integers(40, 120), seed=st.integers(0, 10**6))
def test_boxes_are_tight_and_inside(height, width, seed):
    empty, full, shape = scene((height, width), seed)
    x1, y1, x2, y2 = shape.bbox_xyxy
    assert 0 <= x1 < x2 <= width
    assert 0 <= y1 < y2 <= height
    # A pixel that is covered by half or more has changed by far more than nothing.
    ys, xs = np.nonzero((np.abs(full - empty) > 5).any(axis=2))
    painted = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    # Tips of triangles and tilted rectangles cover little of their outermost pixels.
    slack = 1.5 if shape.label == CIRCLE else 3
    assert (np.abs(painted - shape.bbox_xyxy) < slack).all()
    outward = np.sign([-1, -1, 1, 1]) * (painted - shape.bbox_xyxy)
    assert (outward < 1).all()  # nothing is painted outside, but for the pixel the edge lies in


def test_boxes_of_the_data_list_are_where_the_shapes_are():
    dataset = ShapesDataset(num_images=60, max_objects=1)
    for idx in range(60):
        results = dataset[idx]
        (instance,) = results['instances']
        x1, y1, x2, y2 = np.round(instance['bbox']).astype(int)
        centre = results['img'][(y1 + y2) // 2, (x1 + x2) // 2].astype(float)
        around = results['img'].astype(float)
        around[y1:y2, x1:x2] = np.nan
        # Contrast is 100 at least, less mottle and grain.
        assert np.abs(centre - np.nanmean(around, axis=(0, 1))).max() > 40


def test_shapes_have_the_form_of_their_label():
    area_of_box = {CIRCLE: [], RECTANGLE: [], TRIANGLE: []}
    for seed in range(120):
        empty, full, shape = scene((96, 96), seed)
        mask = (np.abs(full - empty) > 40).any(axis=2).astype(np.uint8)
        (outline,), _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        _, (width, height), _ = cv2.minAreaRect(outline)
        area_of_box[shape.label].append(mask.sum() / ((width + 1) * (height + 1)))
    assert np.median(area_of_box[CIRCLE]) == pytest.approx(np.pi / 4, abs=0.06)
    assert np.median(area_of_box[RECTANGLE]) == pytest.approx(1, abs=0.08)
    assert np.median(area_of_box[TRIANGLE]) == pytest.approx(0.5, abs=0.06)


def test_objects_do_not_hide_each_other():
    dataset = ShapesDataset(num_images=200, max_objects=5)
    overlaps = []
    for idx in range(200):
        boxes = [each['bbox'] for each in dataset.get_data_info(idx)['instances']]
        overlaps += [overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i]]
    assert max(overlaps) <= MAX_OVERLAP
    assert max(overlaps) > 0.05


def test_overlap_by_hand():
    assert overlap((0, 0, 4, 4), (2, 2, 4, 6)) == 0.5  # 4 of 8
    assert overlap((0, 0, 4, 4), (4, 0, 8, 4)) == 0


def test_number_of_objects():
    dataset = ShapesDataset(num_images=60, min_objects=0, max_objects=2)
    assert {len(dataset.get_cat_ids(idx)) for idx in range(60)} == {0, 1, 2}
    crowded = ShapesDataset(num_images=3, min_objects=PLACING_TRIES, max_objects=PLACING_TRIES)
    assert all(len(crowded.get_cat_ids(idx)) < PLACING_TRIES for idx in range(3))


@pytest.mark.parametrize(
    'kwargs',
    [dict(num_images=0), dict(num_images=3, min_objects=4), dict(num_images=3, min_objects=-1)],
)
def test_arguments_are_checked(kwargs):
    with pytest.raises(ValueError, match='ShapesDataset needs'):
        ShapesDataset(**kwargs)


def test_written_to_disk_it_is_a_coco_dataset(tmp_path):
    shapes = ShapesDataset(num_images=8, pipeline=PACK, seed=3)
    content = coco_content(shapes)
    (tmp_path / 'coco.json').write_text(json.dumps(content))
    assert len(COCO(str(tmp_path / 'coco.json')).anns) == len(content['annotations'])
    raw = ShapesDataset(num_images=8, seed=3)
    for idx, image in enumerate(content['images']):
        cv2.imwrite(str(tmp_path / image['file_name']), pixels(raw, idx))
    loaded = CocoDataset(
        'coco.json', data_root=str(tmp_path), pipeline=[dict(type='LoadImageFromFile'), *PACK]
    )
    assert loaded.metainfo == shapes.metainfo
    for idx in range(8):
        one, other = shapes[idx], loaded[idx]
        assert (one['inputs'] == other['inputs']).all()
        one_gt, other_gt = one['data_samples'].gt_instances, other['data_samples'].gt_instances
        assert (one_gt.labels == other_gt.labels).all()
        np.testing.assert_allclose(one_gt.bboxes, other_gt.bboxes, atol=1e-5)
