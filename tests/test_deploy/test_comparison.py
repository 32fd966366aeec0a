"""What counts as a difference between a file and its model."""

from typing import Any

import numpy as np
import pytest

from mmdetr.deploy import ImageDetections
from mmdetr.deploy.comparison import TOLERANCES, compare_detections, compare_predictions
from mmdetr.deploy.verification import image_sizes, network_sizes
from tests.helpers.exported import metadata

TOLERANCE = TOLERANCES['float32']
rng = np.random.default_rng(0)


def detections(**changes: Any) -> ImageDetections:
    values = dict(
        boxes=np.float32([[0, 0, 100, 50], [10, 20, 30, 40], [5, 5, 6, 6]]),
        scores=np.float32([0.9, 0.8, 0.1]),
        labels=np.array([1, 0, 1]),
    )
    return ImageDetections(**(values | changes))


def passes(ours: ImageDetections) -> bool:
    """Whether it goes for the same as ``detections()`` in an image of 100 x 200 pixels."""
    found = compare_detections(detections(), ours, (100, 200), TOLERANCE)
    return all(each.largest <= each.allowed for each in found)


def test_detections_are_compared_as_sets() -> None:
    assert passes(detections())
    assert passes(detections().take(np.array([2, 0, 1])))
    assert passes(detections(boxes=detections().boxes + np.float32(0.015)))  # of 200 pixels


@pytest.mark.parametrize(
    'changes',
    [
        dict(boxes=np.float32([[0, 0, 100.03, 50], [10, 20, 30, 40], [5, 5, 6, 6]])),
        dict(scores=np.float32([0.9002, 0.8, 0.1])),
        dict(labels=np.array([0, 0, 1])),
        dict(scores=np.float32([0.9, np.nan, 0.1])),
    ],
)
def test_differences(changes: dict) -> None:
    with np.errstate(invalid='ignore'):
        first = []
        for each in compare_detections(detections(), detections(**changes), (100, 200), TOLERANCE):
            if not each.largest <= each.allowed:
                first.append(each.what)
                break  # as verify does: what comes after it may not be comparable
    assert first
    assert not passes(detections().take(np.array([0, 1])))


def test_rounding_decides_about_the_last_detection() -> None:
    """Of the best pairs of query and class, the last one may be another."""
    other = detections(boxes=np.float32([[0, 0, 100, 50], [10, 20, 30, 40], [70, 7, 90, 9]]))
    assert passes(other)


def test_queries_of_nearly_equal_score_may_change_places() -> None:
    theirs = dict(
        logits=rng.normal(size=(2, 5, 3)).astype(np.float32),
        bboxes=rng.random((2, 5, 4), np.float32),
    )
    ours = {name: each[:, [1, 0, 2, 4, 3]] for name, each in theirs.items()}
    assert all(
        each.largest <= each.allowed
        for each in compare_predictions(theirs, ours, (2, 64, 64), TOLERANCE)
    )
    ours['logits'] = ours['logits'] + np.float32([0, 0, 2e-4])
    largest = {
        each.what: each.largest
        for each in compare_predictions(theirs, ours, (2, 64, 64), TOLERANCE)
    }
    assert largest['logits'] == pytest.approx(2e-4, rel=0.01)
    assert largest['bboxes'] == 0


def test_sizes_fit_the_file() -> None:
    free = metadata(sides=[64, 320])
    assert network_sizes(free) == [(320, 320), (320, 320), (161, 223)]
    assert len(set(network_sizes(metadata()))) == len(set(image_sizes(metadata()))) == 3
    alike = metadata(scale=[640, 640], keep_ratio=False, padded=False)
    assert all(side % 64 == 0 for size in network_sizes(alike) for side in size)
    fixed = metadata(size=[90, 120])
    assert all(height <= 90 and width <= 120 for height, width in network_sizes(fixed))
