"""The assigner against brute force over permutations."""

from itertools import permutations

import pytest
import torch
from torchvision.ops import generalized_box_iou

from mmdetr.models import HungarianAssigner
from mmdetr.models.assigners.hungarian_assigner import NonFinitePredictionError
from mmdetr.structures import SetPrediction, SetTarget, cxcywh_to_xyxy

COSTS = dict(
    cls=dict(type='ClassificationCost', weight=1.0),
    bbox=dict(type='BBoxL1Cost', weight=5.0),
    giou=dict(type='GIoUCost', weight=2.0),
)
L, N, K = 2, 5, 3


def make(num_objects: list[int], seed: int = 0) -> tuple[SetPrediction, list[SetTarget]]:
    generator = torch.Generator().manual_seed(seed)
    shape = (L, len(num_objects), N)
    prediction = SetPrediction(
        torch.randn(*shape, K + 1, generator=generator), torch.rand(*shape, 4, generator=generator)
    )
    targets = [
        SetTarget(
            torch.randint(K, (count,), generator=generator),
            torch.rand(count, 4, generator=generator),
        )
        for count in num_objects
    ]
    return prediction, targets


def pair_cost(prediction, target, layer, image):
    """Cost of every pair by torchvision, one image at a time."""
    probability = prediction.logits[layer, image].softmax(-1)
    bboxes = prediction.bboxes[layer, image]
    return (
        -probability[:, target.labels]
        + 5 * (bboxes[:, None] - target.bboxes[None]).abs().sum(-1)
        - 2 * generalized_box_iou(cxcywh_to_xyxy(bboxes), cxcywh_to_xyxy(target.bboxes))
    )


@pytest.mark.parametrize('seed', range(5))
def test_equals_brute_force(seed):
    counts = [3, 0, 2]
    prediction, targets = make(counts, seed)
    assignment = HungarianAssigner(COSTS)(prediction, targets)
    starts = [0, 3, 3]
    for layer in range(L):
        for image, (count, target) in enumerate(zip(counts, targets, strict=True)):
            cost = pair_cost(prediction, target, layer, image)
            best = min(
                permutations(range(N), count),
                key=lambda queries: sum(cost[q, t].item() for t, q in enumerate(queries)),
            )
            chosen = assignment.image[layer] == image
            pairs = zip(
                assignment.target[layer][chosen].tolist(),
                assignment.query[layer][chosen].tolist(),
                strict=True,
            )
            assert sorted(pairs) == [(starts[image] + t, q) for t, q in enumerate(best)]


def test_more_objects_than_queries_leaves_the_costliest():
    prediction, targets = make([N + 2])
    assignment = HungarianAssigner(COSTS)(prediction, targets)
    assert assignment.query.shape == (L, N)
    for layer in range(L):
        assert sorted(assignment.query[layer].tolist()) == list(range(N))
        cost = pair_cost(prediction, targets[0], layer, 0)
        chosen = cost[assignment.query[layer], assignment.target[layer]].sum().item()
        best = min(
            sum(cost[q, t].item() for q, t in enumerate(kept))
            for kept in permutations(range(N + 2), N)
        )
        assert chosen == pytest.approx(best, abs=1e-5)


def test_no_objects_at_all():
    prediction, targets = make([0, 0])
    assert HungarianAssigner(COSTS)(prediction, targets).query.shape == (L, 0)


@pytest.mark.parametrize('num_objects', [[2, 2], [0, 0]])
def test_non_finite_predictions_name_the_images(num_objects):
    prediction, targets = make(num_objects)
    prediction.logits[0, 1, 0, 0] = float('nan')
    with pytest.raises(NonFinitePredictionError) as caught:
        HungarianAssigner(COSTS)(prediction, targets)
    assert caught.value.images == [1]


def test_dropped_cost():
    prediction, targets = make([3])
    assigner = HungarianAssigner({**COSTS, 'bbox': None, 'giou': None})
    assignment = assigner(prediction, targets)
    probability = prediction.logits[0, 0].softmax(-1)[:, targets[0].labels]
    best = max(
        sum(probability[q, t].item() for t, q in enumerate(queries))
        for queries in permutations(range(N), 3)
    )
    chosen = probability[assignment.query[0], assignment.target[0]].sum().item()
    assert chosen == pytest.approx(best)


def test_needs_a_cost():
    with pytest.raises(ValueError, match='match cost'):
        HungarianAssigner(dict(cls=None))
