import torch
from torchvision.ops import generalized_box_iou

from mmdetr.structures import cxcywh_to_xyxy, generalized_iou, xyxy_to_cxcywh
from mmdetr.structures.bboxes import common_area


def test_conversion_literal():
    cxcywh = torch.tensor([[5.0, 6.0, 4.0, 8.0]])
    xyxy = torch.tensor([[3.0, 2.0, 7.0, 10.0]])
    assert torch.equal(cxcywh_to_xyxy(cxcywh), xyxy)
    assert torch.equal(xyxy_to_cxcywh(xyxy), cxcywh)


def test_generalized_iou_literal():
    # Two unit squares with a unit gap: hull 3, union 2, no intersection.
    apart = generalized_iou(torch.tensor([0.0, 0, 1, 1]), torch.tensor([2.0, 0, 3, 1]))
    torch.testing.assert_close(apart, torch.tensor(-1 / 3))
    # Half overlap: intersection 1, union 3, hull 3.
    half = generalized_iou(torch.tensor([0.0, 0, 2, 1]), torch.tensor([1.0, 0, 3, 1]))
    torch.testing.assert_close(half, torch.tensor(1 / 3))


def test_generalized_iou_equals_torchvision_for_all_pairs():
    generator = torch.Generator().manual_seed(0)
    first = cxcywh_to_xyxy(torch.rand(3, 7, 4, generator=generator) + 0.01)
    second = cxcywh_to_xyxy(torch.rand(3, 5, 4, generator=generator) + 0.01)
    pairs = generalized_iou(first[:, :, None], second[:, None])
    expected = torch.stack([generalized_box_iou(a, b) for a, b in zip(first, second, strict=True)])
    torch.testing.assert_close(pairs, expected)


def test_empty_boxes_give_finite_values_and_gradients():
    point = torch.zeros(4, requires_grad=True)
    value = generalized_iou(point, torch.zeros(4))
    value.backward()
    assert value.isfinite()
    assert point.grad.isfinite().all()


def test_common_area_literal():
    assert common_area((0, 0, 4, 4), (2, 1, 6, 3)) == 4
    assert common_area((0, 0, 4, 4), (1, 1, 2, 2)) == 1
    assert common_area((0, 0, 4, 4), (4, 0, 8, 4)) == 0  # side by side
    assert common_area((0, 0, 4, 4), (5, 5, 8, 8)) == 0  # apart on both axes
