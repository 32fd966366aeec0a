import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional

from mmdetr.datasets.transforms import Resize
from mmdetr.datasets.transforms.resize import _nearest_indices
from mmdetr.registry import TRANSFORMS
from mmdetr.utils.resizing import short_side_size

rng = np.random.default_rng(0)


@pytest.mark.parametrize(
    ('size', 'short', 'longest', 'expected'),
    [
        ((640, 480), 800, 1333, (1066, 800)),  # 1066.67 truncated
        ((480, 640), 800, 1333, (800, 1066)),
        ((500, 375), 800, 1333, (1066, 800)),
        ((640, 427), 800, 1333, (1199, 800)),  # 1199.06
        ((500, 500), 800, 1333, (800, 800)),
        ((800, 1000), 800, 1333, (800, 1000)),  # as it was
        ((1000, 800), 800, 1333, (1000, 800)),
        ((2000, 500), 800, 1333, (1332, 333)),  # round(333.25), then the long side from it
        ((640, 360), 800, 1333, (1333, 750)),  # round(749.8)
        ((100, 200), 800, 1333, (666, 1332)),  # round(666.5) to the even number
        ((200, 100), 480, 1333, (960, 480)),
        ((2000, 500), 400, None, (1600, 400)),
        ((300, 900), 600, None, (600, 1800)),
        ((1333, 333), 800, 1333, (1333, 333)),  # limited to its own size
        ((1, 2000), 800, 1333, (1, 2000)),  # round(0.67)
        ((1, 4000), 800, 1333, (1, 1333)),  # the short side cannot go below a pixel
        ((9000, 2), 800, 1333, (1333, 1)),
    ],
)
def test_authors_size_rule(size, short, longest, expected):
    assert short_side_size(size, short, longest) == expected


@given(
    size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    short=st.integers(1, 1000),
    longest=st.none() | st.integers(1000, 1400),
)
def test_size_rule_keeps_its_promises(size, short, longest):
    width, height = short_side_size(size, short, longest)
    assert short_side_size(size[::-1], short, longest) == (height, width)
    new_short, new_long = sorted((width, height))
    assert 1 <= new_short <= short
    if longest is None:
        assert new_short == short
    if longest is not None:
        assert new_long <= longest + max(size) / min(size) / 2
    if new_short > 1:
        # The short side is rounded, which moves the long one by up to half the aspect ratio.
        ratio = max(size) / min(size)
        assert abs(new_long - ratio * new_short) <= 1


def resize(height: int, width: int, **kwargs):
    img = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    bboxes = np.array([[0, 0, width, height], [3, 5, 17, 20]], dtype=np.float32)
    results = Resize(**kwargs)(dict(img=img, gt_bboxes=bboxes))
    return img, bboxes, results


@pytest.mark.parametrize(
    ('shape', 'kwargs', 'new_size'),
    [
        ((48, 64), dict(scale=(80, 133), keep_ratio=True), (106, 80)),
        ((48, 64), dict(scale=(133, 80), keep_ratio=True), (106, 80)),  # mmcv's order
        ((300, 200), dict(scale=(40, None), keep_ratio=True), (40, 60)),  # shrinking: antialiased
        ((300, 200), dict(scale=(100, 120), keep_ratio=True), (80, 120)),
        ((48, 64), dict(scale=(30, 50)), (30, 50)),
    ],
)
def test_pixels_and_boxes(shape, kwargs, new_size):
    img, bboxes, results = resize(*shape, **kwargs)
    expected = Image.fromarray(img).resize(new_size, Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(results['img'], np.asarray(expected))
    assert results['img_shape'] == new_size[::-1] == results['img'].shape[:2]
    factor = (new_size[0] / shape[1], new_size[1] / shape[0])
    assert results['scale_factor'] == factor
    assert results['gt_bboxes'].dtype == np.float32
    np.testing.assert_allclose(results['gt_bboxes'], bboxes * np.tile(factor, 2), rtol=1e-6)
    np.testing.assert_allclose(results['gt_bboxes'][0], [0, 0, *new_size], rtol=1e-6)


def test_nothing_to_do():
    img, bboxes, results = resize(80, 100, scale=(80, 133), keep_ratio=True)
    assert results['img'] is img
    assert results['scale_factor'] == (1, 1)
    np.testing.assert_array_equal(results['gt_bboxes'], bboxes)


@pytest.mark.parametrize('scale', [(80, 133), (20, 30), (31, 47)])
@pytest.mark.parametrize('flipped', [False, True])
def test_masks_take_the_nearest_pixel(scale, flipped):
    """As torch's interpolation does that knows of the pixels' centres."""
    masks = rng.random((3, 48, 64)) > 0.5
    masks[0] = False
    masks[0, 12:36, 16:48] = True  # a rectangle
    masks = masks[..., ::-1] if flipped else masks
    results = Resize(scale=scale)(
        dict(
            img=np.zeros((48, 64, 3), np.uint8),
            gt_bboxes=np.array([[16, 12, 48, 36]] * 3, np.float32),
            gt_masks=masks,
        )
    )
    assert results['gt_masks'].dtype == bool
    expected = functional.interpolate(
        torch.tensor(masks.copy())[None].float(), scale[::-1], mode='nearest'
    )
    np.testing.assert_array_equal(results['gt_masks'], expected[0].numpy() > 0)
    ys, xs = np.nonzero(results['gt_masks'][0])
    tight = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    np.testing.assert_allclose(tight, results['gt_bboxes'][0], rtol=0, atol=1.01)


def test_every_pair_of_lengths_as_torch():
    for old in range(1, 90):
        line = torch.arange(old, dtype=torch.float32)[None, None]
        for new in range(1, 90):
            expected = functional.interpolate(line, new, mode='nearest')[0, 0]
            np.testing.assert_array_equal(_nearest_indices(old, new), expected.numpy())


def test_masks_where_there_is_nothing_to_do():
    for count in (0, 2):
        masks = rng.random((count, 80, 100)) > 0.5
        img = np.zeros((80, 100, 3), np.uint8)
        results = Resize(scale=(80, 133), keep_ratio=True)(dict(img=img, gt_masks=masks))
        assert results['gt_masks'] is masks
        smaller = Resize(scale=(30, 20))(dict(img=img, gt_masks=masks))
        assert smaller['gt_masks'].shape == (count, 20, 30)


def test_flipped_view():
    img = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    results = Resize(scale=(80, 133), keep_ratio=True)(dict(img=img[:, ::-1]))
    expected = Image.fromarray(img[:, ::-1].copy()).resize((106, 80), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(results['img'], np.asarray(expected))


@pytest.mark.parametrize('kwargs', [dict(scale=800, keep_ratio=True), dict(scale=(800, None))])
def test_unclear_scale(kwargs):
    transform = Resize(**kwargs)
    transform.scale = kwargs['scale']  # as RandomChoiceResize sets it
    with pytest.raises(TypeError, match='scale'):
        transform(dict(img=np.zeros((48, 64, 3), dtype=np.uint8)))


def test_random_choice_resize_uses_it():
    transform = TRANSFORMS.build(
        dict(type='RandomChoiceResize', scales=[(40, None), (80, 133)], keep_ratio=True)
    )
    assert type(transform.resize) is Resize
    np.random.seed(0)
    img = np.zeros((48, 64, 3), dtype=np.uint8)
    shapes = {transform(dict(img=img))['img_shape'] for _ in range(20)}
    assert shapes == {(40, 53), (80, 106)}
