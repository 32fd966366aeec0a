"""Sizes told from a pipeline's steps; exact ones are tested by the sampler that needs them."""

import pytest
from mmengine.dataset import Compose

from mmdetr.datasets.image_sizes import extreme_sizes

RATIO = dict(type='Resize', scale=(800, 1333), keep_ratio=True)
FIXED = dict(type='Resize', scale=(640, 480), keep_ratio=False)
FLIP = dict(type='RandomFlip', prob=0.5)
CROP = dict(type='RandomCrop', min_size=384, max_size=600)
CHOICES = dict(type='RandomChoiceResize', scales=[(480, 1333), (800, 1333)], keep_ratio=True)


@pytest.mark.parametrize(
    ('pipeline', 'expected'),
    [
        ([RATIO, FLIP], {(800, 1333), (1333, 800)}),
        ([RATIO, FIXED], {(640, 480)}),
        ([CHOICES], {(480, 1333), (1333, 480), (800, 1333), (1333, 800)}),
        ([RATIO, CROP], set()),
        ([dict(RATIO, scale=(400, None))], set()),
        ([FLIP], set()),
        ([dict(type='RandomChoice', transforms=[[FIXED], [RATIO, CROP]])], {(640, 480)}),
        (
            [FIXED, dict(type='RandomChoice', transforms=[[FLIP], [RATIO]])],
            {(640, 480), (800, 1333), (1333, 800)},
        ),
    ],
)
def test_sizes(pipeline: list, expected: set) -> None:
    assert extreme_sizes(Compose(pipeline).transforms) == expected
