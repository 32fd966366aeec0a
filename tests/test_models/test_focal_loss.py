"""Focal loss and cost against arithmetic by hand."""

import math

import pytest
import torch

from mmdetr.models import CrossEntropyLoss, FocalCost, FocalLoss
from mmdetr.models.heads.postprocess import postprocess
from mmdetr.structures import SetPrediction, SetTarget, SigmoidClasses


def _prediction(logits: torch.Tensor) -> SetPrediction:
    bboxes = torch.full((*logits.shape[:3], 4), 0.5)
    return SetPrediction(logits, bboxes, class_activation=SigmoidClasses())


def _focal(p: float, alpha: float = 0.25) -> tuple[float, float]:
    """Loss of a class that is there and of one that is not."""
    return -alpha * (1 - p) ** 2 * math.log(p), -(1 - alpha) * p**2 * math.log(1 - p)


def test_loss_by_hand() -> None:
    # Two queries, three classes; the first query stands for class 2, the second for nothing.
    probabilities = torch.tensor([[[[0.5, 0.2, 0.9], [0.1, 0.3, 0.4]]]])
    labels = torch.tensor([[[2, 3]]])
    there = _focal(0.9)[0]
    absent = sum(_focal(p)[1] for p in (0.5, 0.2, 0.1, 0.3, 0.4))
    loss = FocalLoss(loss_weight=2.0)(_prediction(probabilities.logit()), labels, torch.tensor(4.0))
    assert loss.tolist() == pytest.approx([2 * (there + absent) / 4])


def test_no_objects_divide_by_one() -> None:
    logits = torch.zeros(1, 1, 2, 3)
    loss = FocalLoss(loss_weight=1.0)(
        _prediction(logits), torch.full((1, 1, 2), 3), torch.tensor(0.0)
    )
    assert loss.item() == pytest.approx(6 * _focal(0.5)[1])


def test_divisor_counts_objects_that_no_query_took() -> None:
    assert FocalLoss().avg_factor(num_objects=9, num_matched=4, num_queries=4) == 9
    assert CrossEntropyLoss().avg_factor(num_objects=9, num_matched=4, num_queries=14) == 5


def test_cost_is_what_the_loss_would_change() -> None:
    torch.manual_seed(0)
    prediction = _prediction(torch.randn(1, 1, 3, 4))
    target = SetTarget(torch.tensor([[1, 3]]), torch.rand(1, 2, 4))
    cost = FocalCost(weight=2.0)(prediction, target)
    probabilities = prediction.probabilities[0, 0]
    for query in range(3):
        for i, label in enumerate((1, 3)):
            there, absent = _focal(probabilities[query, label].item())
            assert cost[0, 0, query, i].item() == pytest.approx(2 * (there - absent), rel=1e-4)


def test_wrong_class_activation_is_refused() -> None:
    prediction = SetPrediction(torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4))
    with pytest.raises(ValueError, match='SigmoidClasses, not SoftmaxClasses'):
        FocalLoss()(prediction, torch.zeros(1, 1, 2, dtype=torch.long), torch.tensor(1.0))


def test_sigmoid_classes_give_the_best_pairs_of_query_and_class() -> None:
    probabilities = torch.tensor([[[[0.5, 0.2], [0.9, 0.8], [0.1, 0.6]]]])
    prediction = _prediction(probabilities.logit())
    detections = postprocess(prediction, [(10, 20)], max_per_img=4)[0]
    torch.testing.assert_close(detections.scores, torch.tensor([0.9, 0.8, 0.6, 0.5]))
    assert detections.labels.tolist() == [0, 1, 1, 0]
    assert detections.queries.tolist() == [1, 1, 2, 0]
    assert len(postprocess(prediction, [(10, 20)])[0]) == 3
    assert len(postprocess(prediction, [(10, 20)], max_per_img=100)[0]) == 6
