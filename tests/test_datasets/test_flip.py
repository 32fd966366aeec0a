import numpy as np
import pytest
from mmcv.transforms import RandomFlip as MMCVRandomFlip

from mmdetr.datasets.transforms import RandomFlip
from mmdetr.registry import TRANSFORMS

BOX = [2, 3, 6, 5]


def sample() -> dict:
    rng = np.random.default_rng(0)
    masks = np.zeros((2, 8, 10), dtype=bool)
    masks[0, BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
    masks[1] = rng.random((8, 10)) > 0.5
    return dict(
        img=rng.integers(0, 256, (8, 10, 3), dtype=np.uint8),
        gt_bboxes=np.array([BOX, [0, 0, 10, 8]], dtype=np.float32),
        gt_masks=masks,
    )


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
def test_masks_follow_image_and_boxes(direction):
    before, after = sample(), RandomFlip(prob=1.0, direction=direction)(sample())
    # Of the image's corners the upper left one tells where it went.
    corner = dict(horizontal=(0, -1), vertical=(-1, 0), diagonal=(-1, -1))[direction]
    assert (after['img'][corner] == before['img'][0, 0]).all()
    assert after['gt_masks'][1][corner] == before['gt_masks'][1, 0, 0]
    ys, xs = np.nonzero(after['gt_masks'][0])
    tight = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert tight == after['gt_bboxes'][0].tolist()
    as_image = RandomFlip(prob=1.0, direction=direction)(
        dict(img=before['gt_masks'].transpose(1, 2, 0))
    )
    np.testing.assert_array_equal(after['gt_masks'], as_image['img'].transpose(2, 0, 1))


def test_draws_as_mmcv_does():
    for seed in range(20):
        flips = []
        for cls in (RandomFlip, MMCVRandomFlip):
            np.random.seed(seed)
            flips.append(cls(prob=0.5)(sample()))
        ours, theirs = flips
        assert ours['flip_direction'] == theirs['flip_direction']
        np.testing.assert_array_equal(ours['img'], theirs['img'])
        np.testing.assert_array_equal(ours['gt_bboxes'], theirs['gt_bboxes'])


def test_is_found_by_name():
    assert TRANSFORMS.get('RandomFlip') is RandomFlip
    assert 'gt_masks' not in RandomFlip(prob=1.0)(dict(img=sample()['img']))
