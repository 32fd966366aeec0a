"""torchvision's augmentation in a pipeline: objects stay on their pixels."""

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from mmdetr.datasets.transforms import (
    RandomIoUCrop,
    RandomPhotometricDistort,
    RandomZoomOut,
    add_object_field,
)


def results():
    """Two objects, each a rectangle of a colour of its own, with masks and a field."""
    image = np.full((60, 80, 3), 7, dtype=np.uint8)
    bboxes = np.array([[10, 5, 30, 25], [50, 30, 70, 55]], dtype=np.float32)
    masks = np.zeros((2, 60, 80), dtype=bool)
    for i, (left, top, right, bottom) in enumerate(bboxes.astype(int)):
        image[top:bottom, left:right] = (100 + i, 20, 200)
        masks[i, top:bottom, left:right] = True
    found = dict(
        img=image,
        img_shape=(60, 80),
        gt_bboxes=bboxes,
        gt_bboxes_labels=np.array([4, 9]),
        gt_masks=masks,
    )
    add_object_field(found, 'colours', [100, 101])
    return found


@pytest.mark.parametrize(
    'transform', [RandomZoomOut(prob=1.0, fill=3), RandomIoUCrop()], ids=('zoom', 'crop')
)
def test_boxes_masks_and_fields_stay_with_their_objects(transform):
    kept = 0
    for seed in range(8):
        torch.manual_seed(seed)
        found = transform(results())
        height, width = found['img'].shape[:2]
        assert found['img_shape'] == (height, width)
        assert found['img'].flags.c_contiguous
        rows = zip(found['gt_bboxes'], found['gt_masks'], found['gt_colours'], strict=True)
        for bbox, mask, colour in rows:
            kept += 1
            assert 4 + 5 * (colour - 100) in found['gt_bboxes_labels']
            is_object = found['img'][..., 0] == colour
            np.testing.assert_array_equal(mask, is_object)
            ys, xs = is_object.nonzero()
            expected = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            np.testing.assert_allclose(bbox, expected, atol=1e-4)
    assert kept > 8


def test_a_crop_drops_objects_outside():
    counts = set()
    for seed in range(20):
        torch.manual_seed(seed)
        counts.add(len(RandomIoUCrop()(results())['gt_bboxes']))
    assert counts >= {1, 2}


def test_crops_are_those_of_torchvision():
    generator = torch.Generator().manual_seed(0)
    reference, crops = v2.RandomIoUCrop(min_scale=0.5), RandomIoUCrop(min_scale=0.5)
    for seed in range(60):
        corners = torch.rand(6, 2, 2, generator=generator) * torch.tensor([320.0, 240.0])
        bboxes = tv_tensors.BoundingBoxes(
            torch.cat((corners.amin(1), corners.amax(1)), 1), format='XYXY', canvas_size=(240, 320)
        )
        torch.manual_seed(seed)
        expected = reference.make_params([tv_tensors.Image(torch.zeros(3, 240, 320)), bboxes])
        torch.manual_seed(seed)
        found = crops.operation.make_params([bboxes])
        assert {k: torch.as_tensor(v).tolist() for k, v in found.items()} == {
            k: torch.as_tensor(v).tolist() for k, v in expected.items()
        }


def test_colours_change_and_boxes_do_not():
    torch.manual_seed(0)
    before, found = results(), RandomPhotometricDistort(prob=1.0)(results())
    assert found['img'].dtype == np.uint8
    assert (found['img'] != before['img']).any()
    np.testing.assert_array_equal(found['gt_bboxes'], before['gt_bboxes'])


@pytest.mark.parametrize('prob', [1.0, 0.5])
def test_colours_are_those_of_torchvision(prob):
    generator = np.random.default_rng(0)
    picture = generator.integers(0, 256, (6, 8, 3)).astype(np.uint8).repeat(5, 0).repeat(5, 1)
    image = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)
    for seed in range(12):
        torch.manual_seed(seed)
        expected = v2.RandomPhotometricDistort(p=prob)(image).permute(1, 2, 0).numpy()[..., ::-1]
        torch.manual_seed(seed)
        found = RandomPhotometricDistort(prob)(dict(img=picture.copy()))['img']
        difference = np.abs(found.astype(int) - expected)
        assert difference.max() <= 3, seed
        assert difference.mean() < 0.6, seed


def test_images_without_objects():
    for transform in (RandomZoomOut(prob=1.0), RandomIoUCrop(), RandomPhotometricDistort()):
        empty = dict(img=np.zeros((8, 9, 3), np.uint8), gt_bboxes=np.zeros((0, 4), np.float32))
        assert transform(empty)['gt_bboxes'].shape == (0, 4)
        assert transform(dict(img=np.zeros((8, 9, 3), np.uint8)))['img'].ndim == 3


def test_the_same_seed_gives_the_same_image():
    pictures = []
    for _ in range(2):
        torch.manual_seed(3)
        pictures.append(RandomZoomOut(prob=1.0)(results())['img'])
    np.testing.assert_array_equal(*pictures)
