"""D-FINE's bins, its losses and the union of matches, by hand."""

import pytest
import torch
from torch.nn import functional as F

from mmdetr.models.assigners import Assignment
from mmdetr.models.losses.dfine_criterion import union_of_matches
from mmdetr.models.losses.edges import DecoupledDistillationLoss, FineGrainedLocalizationLoss
from mmdetr.structures import SetTarget
from mmdetr.structures.edge_distribution import EdgeBins


def test_steps_are_the_papers_weighting_function():
    """W of equation 3 with a = 1/2 and c = 1/4, times the scale 4."""
    bins = EdgeBins(reg_max=32, scale=4.0)
    for n, step in enumerate(bins.steps().tolist()):
        if n in (0, 32):
            expected = 4.0 * (1 if n else -1)
        else:
            expected = 3 ** (abs(n - 16) / 15) - 1
            expected *= -1 if n < 16 else 1
        assert step == pytest.approx(expected, abs=1e-5)


def test_a_certain_distribution_moves_its_edge():
    bins = EdgeBins()
    first = torch.tensor([0.5, 0.5, 0.2, 0.4])
    corners = torch.full((4, 33), -1e4)
    for edge, chosen in enumerate((16, 16, 32, 0)):
        corners[edge, chosen] = 1e4
    # Right edge a whole width (4 steps of a quarter) further, bottom edge a whole height back.
    expected = torch.tensor([0.5 + 0.1, 0.5 - 0.2, 0.4, 0.0])
    torch.testing.assert_close(bins.bboxes(corners.flatten(), first), expected)


def test_targets_are_the_inverse_of_boxes():
    torch.manual_seed(0)
    bins = EdgeBins()
    first = torch.rand(50, 4) * 0.3 + 0.2
    objects = first * (1 + 0.4 * (torch.rand(50, 4) - 0.5))
    lower, share = bins.targets(objects, first)
    probabilities = F.one_hot(lower, 33) * (1 - share)[..., None]
    probabilities = probabilities + F.one_hot(lower + 1, 33) * share[..., None]
    found = bins.bboxes((probabilities + 1e-30).log().flatten(1), first)
    torch.testing.assert_close(found, objects, atol=1e-5, rtol=1e-5)


def test_what_lies_beyond_the_bins_belongs_to_the_last():
    bins = EdgeBins()
    first = torch.tensor([[0.5, 0.5, 0.1, 0.1]])
    lower, share = bins.targets(torch.tensor([[0.5, 0.5, 0.9, 1e-6]]), first)
    assert lower[0].tolist() == [31, lower[0, 1], 31, lower[0, 3]]
    assert share[0, [0, 2]].tolist() == [1.0, 1.0]


def test_localization_loss_is_cross_entropy_of_two_bins():
    torch.manual_seed(0)
    corners, ious = torch.randn(1, 2, 132), torch.tensor([[0.3, 0.8]])
    first = torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0.4, 0.4, 0.2, 0.1]]])
    targets = first * 1.1
    loss = FineGrainedLocalizationLoss(loss_weight=2.0)
    ours = loss(corners, EdgeBins(), first, targets, ious, torch.tensor(3.0))
    lower, share = EdgeBins().targets(targets, first)
    expected = 0.0
    for pair in range(2):
        for edge in range(4):
            logits = corners[0, pair].view(4, 33)[edge]
            at, part = lower[0, pair, edge], share[0, pair, edge]
            below, above = (F.cross_entropy(logits, at + i) for i in range(2))
            expected += ious[0, pair] * ((1 - part) * below + part * above)
    torch.testing.assert_close(ours[0], 2 * expected / 3)


def test_distillation_weighs_matched_and_others_by_roots():
    torch.manual_seed(0)
    corners = torch.randn(2, 1, 3, 132, requires_grad=True)
    scores, ious = torch.tensor([[0.2, 0.5, 0.9]]), torch.full((2, 1), 0.7)
    matched = (torch.tensor([[0], [1]]), torch.zeros(2, 1, dtype=int), torch.full((2, 1), 1))
    ours = DecoupledDistillationLoss(1.0, 5.0)(corners, scores, matched, ious, 1, 2)
    kl = [
        25
        * F.kl_div(
            (corners[0, 0, i].view(4, 33) / 5).log_softmax(-1),
            (corners[1, 0, i].view(4, 33) / 5).softmax(-1),
            reduction='sum',
        )
        / 4
        for i in range(3)
    ]
    others = (0.2 * kl[0] + 0.9 * kl[2]) / 2
    expected = (0.7 * kl[1] + 2**0.5 * others) / (1 + 2**0.5)
    torch.testing.assert_close(ours, expected[None])
    ours.sum().backward()
    assert not corners.grad[1].any()


def test_without_objects_distillation_is_of_the_others():
    corners = torch.randn(2, 1, 3, 132)
    none = torch.zeros(2, 0, dtype=torch.int64)
    ours = DecoupledDistillationLoss()(
        corners, torch.rand(1, 3), (none, none, none), torch.zeros(2, 0), 0, 3
    )
    assert ours.isfinite().all()
    assert ours > 0


def test_union_gives_a_query_the_object_of_most_outputs():
    objects = [SetTarget(torch.zeros(n, dtype=int), torch.rand(n, 4)) for n in (2, 1)]
    image = torch.tensor([[0, 0, 1]] * 3)
    query = torch.tensor([[0, 1, 0], [0, 3, 2], [1, 0, 0]])
    target = torch.tensor([[0, 1, 2], [1, 0, 2], [1, 0, 2]])
    union = union_of_matches(Assignment(image, query, target), (2, 4), objects)
    pairs = list(zip(*(part[0].tolist() for part in union), strict=True))
    # Query 0: object 0 twice, 1 once. Query 1: object 1 twice. Query 3: object 0.
    assert pairs == [(0, 0, 0), (0, 1, 1), (0, 3, 0), (1, 0, 2), (1, 2, 2)]


def test_a_tie_goes_to_the_first_object():
    objects = [SetTarget(torch.zeros(2, dtype=int), torch.rand(2, 4))]
    query, target = torch.tensor([[0, 1], [0, 1]]), torch.tensor([[1, 0], [0, 1]])
    union = union_of_matches(Assignment(torch.zeros_like(query), query, target), (1, 3), objects)
    assert union.target[0].tolist() == [0, 0]
