"""Losses of denoising queries and proposals, by hand."""

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from mmdetr.models import ContrastiveDenoising, GroupDenoising, QueryCriterion
from mmdetr.models.layers import DenoisingQueries
from mmdetr.structures import QueryPrediction, SetPrediction, SetTarget, SigmoidClasses

NUM_LAYERS, NUM_QUERIES, NUM_CLASSES = 2, 5, 3


def build(**changes) -> QueryCriterion:
    """The criterion of DINO with three classes."""
    return QueryCriterion(
        num_classes=NUM_CLASSES,
        assigner=dict(type='HungarianAssigner', match_costs=dict(cls=dict(type='FocalCost'))),
        loss_cls=dict(type='FocalLoss', loss_weight=1.0),
        loss_bbox=dict(type='L1Loss'),
        loss_giou=dict(type='GIoULoss'),
        **changes,
    )


def predict(queries: DenoisingQueries) -> QueryPrediction:
    """A random prediction of denoising and matching queries."""
    torch.manual_seed(0)
    shape = (NUM_LAYERS, 2, len(queries) + NUM_QUERIES)
    whole = SetPrediction(
        torch.randn(*shape, NUM_CLASSES, requires_grad=True),
        torch.rand(*shape, 4, requires_grad=True) / 2 + 0.1,
        class_activation=SigmoidClasses(),
    )
    return queries.split(whole)


def targets_with(*counts: int) -> list[SetTarget]:
    """Images with that many objects."""
    return [SetTarget(torch.arange(n) % NUM_CLASSES, torch.rand(n, 4) / 2 + 0.1) for n in counts]


def losses_of(criterion: QueryCriterion, prediction: QueryPrediction, targets: list) -> dict:
    """All losses of a prediction."""
    return criterion.losses(prediction, targets, criterion.match(prediction, targets))


@pytest.mark.parametrize('background', [True, False])
def test_negatives_and_empty_slots(background: bool) -> None:
    targets = targets_with(1, 2)
    queries = ContrastiveDenoising(NUM_CLASSES, num_groups=2)(targets)
    prediction = predict(queries)
    losses = losses_of(build(denoising_background=background), prediction, targets)

    logits, bboxes = prediction.denoising.logits, prediction.denoising.bboxes
    # Slots of a group: two positives, two negatives; the first image has one object.
    known = [(0, 0, 0), (1, 0, 1), (1, 1, 2), (0, 4, 0), (1, 4, 1), (1, 5, 2)]
    labels = torch.cat([target.labels for target in targets])
    wanted = torch.zeros(2, 8, NUM_CLASSES)
    counted = torch.full((2, 8, 1), float(background))
    l1 = torch.zeros(NUM_LAYERS)
    for image, slot, target in known:
        wanted[image, slot, labels[target]] = 1
        counted[image, slot] = 1
        goal = torch.cat([each.bboxes for each in targets])[target]
        l1 += (bboxes[:, image, slot] - goal).abs().sum(-1)
    for layer, prefix in ((0, 'd0.'), (1, '')):
        focal = (sigmoid_focal_loss(logits[layer], wanted, 0.25, 2.0) * counted).sum() / 6
        torch.testing.assert_close(losses[f'{prefix}dn_loss_cls'], focal)
        torch.testing.assert_close(losses[f'{prefix}dn_loss_bbox'], 5 * l1[layer] / 6)


@pytest.mark.parametrize('background', [True, False])
@pytest.mark.parametrize('denoising', [GroupDenoising, ContrastiveDenoising])
def test_a_batch_without_objects_has_the_same_losses_and_they_are_zero(
    denoising: type, background: bool
) -> None:
    criterion = build(denoising_background=background)
    names = []
    for counts in ((1, 2), (0, 0)):
        targets = targets_with(*counts)
        losses = losses_of(criterion, predict(denoising(NUM_CLASSES)(targets)), targets)
        names.append(list(losses))
    assert names[0] == names[1]
    assert not any(value.item() for name, value in losses.items() if 'dn_' in name)
    sum(losses.values()).backward()


def test_losses_of_one_object_do_not_depend_on_the_number_of_groups() -> None:
    targets, results = targets_with(1, 1), []
    for groups in (1, 4):
        queries = GroupDenoising(NUM_CLASSES, num_groups=groups)(targets)
        prediction = predict(queries)
        same = prediction.denoising.map(
            lambda tensor: torch.full_like(tensor, 0.3) if tensor.is_floating_point() else tensor
        )
        criterion = build(denoising_background=False)
        results.append(losses_of(criterion, prediction.replace(denoising=same), targets))
    for name in ('dn_loss_cls', 'dn_loss_bbox', 'd0.dn_loss_giou'):
        torch.testing.assert_close(results[0][name], results[1][name])


def test_class_agnostic_proposals_learn_class_zero() -> None:
    targets = [SetTarget(torch.tensor([2]), torch.full((1, 4), 0.4))]
    proposals = SetPrediction(
        torch.tensor([[[[2.0, 0, 0], [0, 0, 2.0]]]]),
        torch.full((1, 1, 2, 4), 0.4),
        class_activation=SigmoidClasses(),
    )
    prediction = QueryPrediction(*proposals, proposals=proposals, class_activation=SigmoidClasses())
    agnostic = losses_of(build(class_agnostic_proposals=True), prediction, targets)
    by_class = losses_of(build(), prediction, targets)
    wanted = torch.tensor([[1.0, 0, 0], [0, 0, 0]])
    expected = sigmoid_focal_loss(proposals.logits[0, 0], wanted, 0.25, 2.0).sum()
    torch.testing.assert_close(agnostic['enc_loss_cls'], expected)
    torch.testing.assert_close(by_class['enc_loss_cls'], by_class['loss_cls'])
