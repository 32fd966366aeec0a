import numpy as np
import pytest

from mmdetr.datasets.transforms import RandomCrop


def position_image(height: int, width: int) -> np.ndarray:
    """Each pixel holds its own row and column, so that a crop tells where it was taken."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([rows, columns, rows], axis=-1)


BBOXES = np.array([[0, 0, 10, 10], [20, 30, 60, 50], [0, 0, 90, 70], [80, 60, 90, 70]], np.float32)


def crop(transform: RandomCrop, height: int = 70, width: int = 90) -> dict:
    return transform(
        dict(
            img=position_image(height, width),
            img_shape=(height, width),
            gt_bboxes=BBOXES.copy(),
            gt_bboxes_labels=np.arange(4),
        )
    )


def test_crops_against_boxes_cut_by_hand():
    np.random.seed(0)
    counts = set()
    for _ in range(200):
        results = crop(RandomCrop(20, 40))
        img = results['img']
        height, width = results['img_shape']
        assert img.shape == (height, width, 3)
        top, left = int(img[0, 0, 0]), int(img[0, 0, 1])
        np.testing.assert_array_equal(
            img, position_image(70, 90)[top : top + height, left : left + width]
        )
        expected = []
        for label, (x1, y1, x2, y2) in enumerate(BBOXES.tolist()):
            x1, x2 = max(x1, left) - left, min(x2, left + width) - left
            y1, y2 = max(y1, top) - top, min(y2, top + height) - top
            if x2 > x1 and y2 > y1:
                expected.append(([x1, y1, x2, y2], label))
        kept = zip(results['gt_bboxes'].tolist(), results['gt_bboxes_labels'].tolist(), strict=True)
        assert list(kept) == expected
        assert results['gt_bboxes'].dtype == np.float32
        counts.add(len(expected))
    assert counts >= {1, 2, 3}


def test_sizes_and_places_reach_both_ends():
    np.random.seed(0)
    transform = RandomCrop(66, 68)
    seen = [crop(transform) for _ in range(300)]
    assert {results['img_shape'][0] for results in seen} == {66, 67, 68}
    assert {results['img_shape'][1] for results in seen} == {66, 67, 68}
    assert {int(results['img'][0, 0, 0]) for results in seen} == set(range(5))
    assert {int(results['img'][-1, -1, 0]) for results in seen} == set(range(65, 70))


@pytest.mark.parametrize(('height', 'width'), [(70, 90), (384, 10), (10, 10)])
def test_never_larger_than_the_image(height, width):
    np.random.seed(0)
    for _ in range(20):
        results = crop(RandomCrop(384, 600), height, width)
        assert results['img_shape'] == (height, width)


def test_crop_without_objects():
    np.random.seed(0)
    transform = RandomCrop(5, 5)
    empty = np.zeros((0, 4), np.float32)
    img = position_image(70, 90)
    results = transform(dict(img=img, gt_bboxes=empty, gt_bboxes_labels=np.zeros(0, np.int64)))
    assert results['gt_bboxes'].shape == (0, 4)
    far = np.array([[0, 0, 1, 1]], np.float32)
    results = transform(dict(img=img, gt_bboxes=far, gt_bboxes_labels=np.array([2])))
    assert results['gt_bboxes'].shape == (0, 4)
    assert results['gt_bboxes_labels'].shape == (0,)
    assert transform(dict(img=img))['img'].shape == (5, 5, 3)


@pytest.mark.parametrize('sizes', [(0, 5), (6, 5)])
def test_arguments_are_checked(sizes):
    with pytest.raises(ValueError, match='min_size <= max_size'):
        RandomCrop(*sizes)
