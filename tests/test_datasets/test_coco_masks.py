"""COCO's segmentations against pycocotools, and those it would draw from whatever is in memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmdetr.datasets.coco_masks import MALFORMED, MISSING, OTHER_SIZE, draw_mask
from mmdetr.datasets.coco_masks import segmentation_problem as problem_of

WIDTH, HEIGHT = 10, 8
TRIANGLE = [1, 1, 7, 1.5, 4, 6]
SQUARE = [5, 4, 9, 4, 9, 8, 5, 8]
BITMAP = np.zeros((HEIGHT, WIDTH), dtype=bool)
BITMAP[2:5, 3:7] = True


def by_pycocotools(segmentation: list | dict, width: int = WIDTH, height: int = HEIGHT):
    """The mask as COCO's own API draws it."""
    coco = COCO()
    coco.imgs = {1: dict(height=height, width=width)}
    return coco.annToMask(dict(image_id=1, segmentation=segmentation)).astype(bool)


def encoded(bitmap: np.ndarray) -> dict:
    """Compressed RLE as a file states it."""
    rle = coco_mask.encode(np.asfortranarray(bitmap.astype(np.uint8)))
    return dict(size=list(rle['size']), counts=rle['counts'].decode())


def run_lengths(bitmap: np.ndarray) -> dict:
    """RLE as a list, counted one pixel after the other."""
    counts, current = [0], False
    for pixel in bitmap.T.ravel():
        if pixel != current:
            counts.append(0)
            current = pixel
        counts[-1] += 1
    return dict(size=list(bitmap.shape), counts=counts)


def sized_bitmaps():
    return st.tuples(st.integers(1, 60), st.integers(1, 60), st.integers(0, 10**6)).map(
        lambda each: np.random.default_rng(each[2]).random(each[:2]) < each[2] % 10 / 9
    )


@pytest.mark.parametrize('segmentation', [[TRIANGLE], [SQUARE], [TRIANGLE, SQUARE]])
def test_polygons_are_drawn_as_by_coco(segmentation):
    assert problem_of(segmentation, WIDTH, HEIGHT) is None
    drawn = draw_mask(segmentation, WIDTH, HEIGHT)
    assert drawn.dtype == bool
    np.testing.assert_array_equal(drawn, by_pycocotools(segmentation))
    assert drawn.any()


def test_square_by_hand():
    expected = np.zeros((HEIGHT, WIDTH), dtype=bool)
    expected[4:8, 5:9] = True
    np.testing.assert_array_equal(draw_mask([SQUARE], WIDTH, HEIGHT), expected)


@given(bitmap=sized_bitmaps())
def test_run_lengths_of_both_forms(bitmap):
    height, width = bitmap.shape
    for segmentation in (encoded(bitmap), run_lengths(bitmap)):
        assert problem_of(segmentation, width, height) is None
        np.testing.assert_array_equal(draw_mask(segmentation, width, height), bitmap)
        assert problem_of(segmentation, width + 1, height) == OTHER_SIZE
        assert problem_of({**segmentation, 'size': [height + 1, width]}, width, height + 1) == (
            OTHER_SIZE
        )


@pytest.mark.parametrize(
    ('segmentation', 'problem'),
    [
        (None, MISSING),
        ([], MISSING),
        ({}, MISSING),
        ([[]], MALFORMED),
        ([TRIANGLE, []], MALFORMED),
        (TRIANGLE, MALFORMED),
        ([[1, 1, 7, 1, 4]], MALFORMED),  # an odd number of coordinates
        ([[1, 1, 7, 1, 4, 6, 2]], MALFORMED),
        ([[1, 1, 7, 1]], MALFORMED),  # pycocotools takes it for a box
        ([[1, 1, 7, 1, 4, float('nan')]], MALFORMED),
        ([[1, 1, 7, 1, 4, float('inf')]], MALFORMED),
        ([[1, 1, 7, 1, 4, 10**400]], MALFORMED),
        ([[1, 1, 7, 1, 4, '6']], MALFORMED),
        ([[1, 1, 7, 1, 4, True]], MALFORMED),
        ('1 2 3', MALFORMED),
        (7, MALFORMED),
        (dict(size=[8, 10]), MALFORMED),
        (dict(counts=[80]), MALFORMED),
        (dict(size=8, counts=[80]), MALFORMED),
        (dict(size=[8.0, 10.0], counts=[80]), MALFORMED),
        (dict(size=[8, 10], counts=[40.0, 40.0]), MALFORMED),
        (dict(size=[8, 10], counts=[-3, 83]), MALFORMED),
        (dict(size=[8, 10], counts='oooo'), MALFORMED),  # ends within a number
        (dict(size=[8, 10], counts='\ud800'), MALFORMED),
        (dict(size=[8, 10], counts='o' * 20 + '0'), MALFORMED),
        (dict(size=[8, 10], counts=''), OTHER_SIZE),
        (dict(size=[8, 10], counts=[]), OTHER_SIZE),
        (dict(size=[8, 10], counts=[3, 4]), OTHER_SIZE),
        (dict(size=[8, 10], counts=[3, 78]), OTHER_SIZE),
        (dict(size=[10, 8], counts=[80]), OTHER_SIZE),
        (dict(size=[8], counts=[80]), OTHER_SIZE),
        (dict(size=[8, 10], counts=[80]), None),
        (dict(size=[8, 10], counts=[0, 80, 0]), None),
    ],
)
def test_problems(segmentation, problem):
    assert problem_of(segmentation, WIDTH, HEIGHT) == problem


@given(
    start=st.integers(0, 12),
    text=st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=6),
)
def test_damaged_text_is_refused_or_is_a_mask(start, text):
    counts = encoded(BITMAP)['counts']
    damaged = dict(size=[HEIGHT, WIDTH], counts=counts[:start] + text + counts[start + 1 :])
    if problem_of(damaged, WIDTH, HEIGHT) is None:
        drawn = draw_mask(damaged, WIDTH, HEIGHT)
        # Encoded again it is the same mask: nothing came from elsewhere.
        again = coco_mask.decode(coco_mask.encode(np.asfortranarray(drawn.astype(np.uint8))))
        np.testing.assert_array_equal(drawn.view(np.uint8), again)
        assert coco_mask.area(damaged) == drawn.sum()


def test_corners_far_away():
    """pycocotools would walk along the whole outline, of 5e300 pixels here, and crash."""
    drawn = draw_mask([[-1e300, -1e300, 1e300, -1e300, 1e300, 1e300, -1e300, 1e300]], 10, 8)
    assert drawn.all()
    beyond = [-3, -2, 14, 3, 2, 12]  # a triangle whose sides cross the border
    np.testing.assert_array_equal(draw_mask([beyond], WIDTH, HEIGHT), by_pycocotools([beyond]))
