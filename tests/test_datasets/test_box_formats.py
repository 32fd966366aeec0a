"""Boxes drawn at random and stated in other forms than COCO's."""

import numpy as np
import pytest

from mmdetr.datasets.box_formats import (
    CENTRES,
    NORMALISED,
    PERCENT,
    SWAPPED,
    XYXY,
    find_repeated,
    fits_exchanged_size,
    recognise_format,
)

SIZE = np.array([640.0, 480.0])


def draw(number: int, largest: float, seed: int = 0) -> np.ndarray:
    """Boxes [x, y, w, h] inside of 640 x 480, with sides up to a share of the image."""
    rng = np.random.default_rng(seed)
    sides = rng.uniform(0.02, largest, (number, 2)) * SIZE
    first = rng.uniform(0, 1, (number, 2)) * (SIZE - sides)
    return np.concatenate((first, sides), axis=1)


FORMS = {
    None: lambda b: b,
    XYXY: lambda b: np.concatenate((b[:, :2], b[:, :2] + b[:, 2:]), axis=1),
    CENTRES: lambda b: np.concatenate((b[:, :2] + b[:, 2:] / 2, b[:, 2:]), axis=1),
    NORMALISED: lambda b: b / np.tile(SIZE, 2),
    PERCENT: lambda b: b / np.tile(SIZE, 2) * 100,
    SWAPPED: lambda b: b[:, [1, 0, 3, 2]],
}


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('largest', [0.15, 0.5, 0.9])
@pytest.mark.parametrize('seed', range(5))
def test_each_form_is_named_for_what_it_is(form, largest, seed):
    boxes = FORMS[form](draw(500, largest, seed))
    assert recognise_format(boxes, np.tile(SIZE, (500, 1))) == form


@pytest.mark.parametrize('form', [NORMALISED, CENTRES, XYXY])
def test_normalised_centres_and_corners_are_normalised(form):
    boxes = FORMS[form](draw(50, 0.5)) if form != NORMALISED else draw(50, 0.5)
    assert recognise_format(boxes / np.tile(SIZE, 2), np.tile(SIZE, (50, 1))) == NORMALISED


def test_good_boxes_are_left_in_peace():
    assert recognise_format(np.empty((0, 4)), np.empty((0, 2))) is None
    whole = np.tile((0.0, 0, *SIZE), (50, 1))  # the same as corners
    assert recognise_format(whole, np.tile(SIZE, (50, 1))) is None
    few = draw(20, 0.5)
    few[:2, 2:] = SIZE  # a tenth is sloppy
    assert recognise_format(few, np.tile(SIZE, (20, 1))) is None
    unusable = np.array([[0, 0, 0, 0], [np.nan, 0, 1, 1], [0, 0, -1, 5]])
    assert recognise_format(unusable, np.tile(SIZE, (3, 1))) is None
    assert recognise_format(np.array([[0, 0, 1.0, 1]]), np.array([[2.0, 2]])) is None


def test_boxes_of_the_turned_image():
    boxes = np.array([[0, 500, 10, 100], [0, 0, 10, 10], [600, 600, 10, 10.0]])
    assert fits_exchanged_size(boxes, np.tile(SIZE, (3, 1))).tolist() == [True, False, False]


def test_repeated_rows():
    rows = np.random.default_rng(0).integers(0, 3, (200, 3)).astype(float)
    seen, expected = set(), []
    for row in map(tuple, rows):
        expected.append(row in seen)
        seen.add(row)
    assert find_repeated(rows).tolist() == expected
    assert find_repeated(np.empty((0, 6))).tolist() == []
