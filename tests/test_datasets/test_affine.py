"""RandomAffine against corners that are turned one by one."""

import math

import numpy as np
import pytest
import torch

from mmdetr.datasets.transforms import RandomAffine, add_object_field
from mmdetr.registry import TRANSFORMS

HEIGHT, WIDTH = 120, 160
BBOXES = np.array([[20, 30, 60, 50], [90, 40, 130, 100], [70, 5, 80, 25]], dtype=np.float32)


def results() -> dict:
    """Three objects, each a rectangle of a colour of its own, with masks and a field."""
    image = np.full((HEIGHT, WIDTH, 3), 7, dtype=np.uint8)
    masks = np.zeros((len(BBOXES), HEIGHT, WIDTH), dtype=bool)
    for i, (left, top, right, bottom) in enumerate(BBOXES.astype(int)):
        image[top:bottom, left:right] = (100 + 50 * i, 20, 200)
        masks[i, top:bottom, left:right] = True
    found = dict(
        img=image,
        img_shape=(HEIGHT, WIDTH),
        gt_bboxes=BBOXES.copy(),
        gt_bboxes_labels=np.array([4, 9, 2]),
        gt_masks=masks,
    )
    add_object_field(found, 'rows', [0, 1, 2])
    return found


def turned_corners(bbox: np.ndarray, drawn: dict) -> np.ndarray:
    """Corners [4, 2] after shear, turn and scale about the centre of the image, and shift."""
    angle, shear = math.radians(drawn['angle']), math.radians(drawn['shear'][0])
    x1, y1, x2, y2 = bbox.tolist()
    corners = []
    for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2)):
        x, y = x - WIDTH / 2, y - HEIGHT / 2
        x = x - math.tan(shear) * y
        x, y = (
            drawn['scale'] * (math.cos(angle) * x - math.sin(angle) * y),
            drawn['scale'] * (math.sin(angle) * x + math.cos(angle) * y),
        )
        right, down = drawn['translate']
        corners.append((x + WIDTH / 2 + right, y + HEIGHT / 2 + down))
    return np.array(corners)


@pytest.mark.parametrize(
    'options',
    [
        dict(degrees=0, translate=(0, 0), scale=(0.5, 1.5)),
        dict(degrees=15, translate=(0, 0), scale=(1, 1)),
        dict(degrees=90, translate=(0.3, 0.2), scale=(0.7, 1.3)),
        dict(degrees=10, shear=10),
    ],
)
def test_boxes_are_those_of_turned_corners(options: dict, monkeypatch) -> None:
    transform = RandomAffine(prob=1.0, fill=3, **options)
    draw = transform.operation.make_params
    drawn: list[dict] = []
    monkeypatch.setattr(
        transform.operation, 'make_params', lambda inputs: drawn.append(draw(inputs)) or drawn[-1]
    )
    kept = 0
    for seed in range(12):
        torch.manual_seed(seed)
        found = transform(results())
        assert found['img'].shape == (HEIGHT, WIDTH, 3)
        assert found['img'].flags.c_contiguous
        corners = [turned_corners(bbox, drawn[-1]) for bbox in BBOXES]
        whole = np.array([[*each.min(axis=0), *each.max(axis=0)] for each in corners])
        clipped = whole.clip(0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
        share = (clipped[:, 2:] - clipped[:, :2]).prod(axis=1)
        share /= (whole[:, 2:] - whole[:, :2]).prod(axis=1)
        rows = found['gt_rows'].tolist()
        assert rows == [i for i in range(len(BBOXES)) if share[i] >= 0.3]
        assert found['gt_bboxes_labels'].tolist() == [[4, 9, 2][i] for i in rows]
        assert found['gt_bboxes'].dtype == np.float32
        np.testing.assert_allclose(found['gt_bboxes'], clipped[rows], atol=1e-3)
        for bbox, mask, i in zip(found['gt_bboxes'], found['gt_masks'], rows, strict=True):
            kept += 1
            ys, xs = mask.nonzero()
            edges = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
            if (whole[i] == clipped[i]).all():  # the image cuts nothing off
                np.testing.assert_allclose(edges, bbox, atol=2.0)
            # But for its border, which is mixed with what is beside it.
            inner = mask.copy()
            for shift in ((0, 2), (0, -2), (2, 0), (-2, 0)):
                inner &= np.roll(mask, shift, (0, 1))
            assert (np.abs(found['img'][inner][:, 0].astype(int) - (100 + 50 * i)) <= 1).all()
    assert kept > 20


def test_nothing_happens_without_luck() -> None:
    before, after = results(), RandomAffine(prob=0.0)(results())
    np.testing.assert_array_equal(before['img'], after['img'])
    np.testing.assert_array_equal(before['gt_bboxes'], after['gt_bboxes'])


def test_images_without_objects_and_repeatable_draws() -> None:
    transform = TRANSFORMS.build(dict(type='RandomAffine', prob=1.0))
    empty = dict(results(), gt_bboxes=np.zeros((0, 4), np.float32), gt_rows=np.zeros(0))
    empty.update(gt_bboxes_labels=np.zeros(0, int), gt_masks=np.zeros((0, HEIGHT, WIDTH), bool))
    assert transform(empty)['gt_bboxes'].shape == (0, 4)
    pictures = []
    for _ in range(2):
        torch.manual_seed(3)
        pictures.append(transform(results())['img'])
    np.testing.assert_array_equal(*pictures)


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match='degrees of RandomAffine must be 0 or more, not -1'):
        RandomAffine(degrees=-1)
