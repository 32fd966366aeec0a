"""The criterion against arithmetic by hand."""

import math
import re

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData

from mmdetr.models import DetDataPreprocessor, SetCriterion
from mmdetr.models.assigners.hungarian_assigner import Assignment
from mmdetr.structures import DetDataSample, SetPrediction, SigmoidClasses

K, N = 2, 3


def build(**kwargs) -> SetCriterion:
    cfg = dict(
        num_classes=K,
        assigner=dict(
            type='HungarianAssigner',
            match_costs=dict(
                cls=dict(type='ClassificationCost'),
                bbox=dict(type='BBoxL1Cost'),
                giou=dict(type='GIoUCost'),
            ),
        ),
        loss_cls=dict(type='CrossEntropyLoss'),
        loss_bbox=dict(type='L1Loss'),
        loss_giou=dict(type='GIoULoss'),
    )
    return SetCriterion(**{**cfg, **kwargs})


def sample(bboxes: list, labels: list, img_id: int = 7) -> DetDataSample:
    """An image of 10 x 20 (h x w) pixels."""
    result = DetDataSample(metainfo=dict(img_shape=(10, 20), img_id=img_id))
    result.gt_instances = InstanceData(
        bboxes=torch.tensor(bboxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
    )
    return result


def predict(bboxes: list, logits: list) -> SetPrediction:
    """One layer, one image."""
    return SetPrediction(
        torch.tensor(logits, dtype=torch.float32)[None, None].requires_grad_(),
        torch.tensor(bboxes, dtype=torch.float32)[None, None].requires_grad_(),
    )


def test_by_hand():
    # One object: x 4..8, y 1..5 of a 20 x 10 image -> centre (0.3, 0.3), size (0.2, 0.4).
    prediction = predict(
        bboxes=[[0.9, 0.9, 0.1, 0.1], [0.3, 0.3, 0.4, 0.4], [0.9, 0.1, 0.1, 0.1]],
        logits=[[0, 0, 0], [2, 0, 0], [0, 0, 1]],
    )
    losses = build()(prediction, [sample([[4, 1, 8, 5]], [0])])

    matched = math.log(math.e**2 + 2) - 2
    first = math.log(3)
    third = math.log(2 + math.e) - 1
    expected = (matched + 0.1 * first + 0.1 * third) / (1 + 0.1 + 0.1)
    assert losses['loss_cls'].item() == pytest.approx(expected, rel=1e-6)
    assert losses['loss_bbox'].item() == pytest.approx(5 * 0.2, rel=1e-5)
    # Twice as wide with the same centre: IoU 1/2, the hull is the union.
    assert losses['loss_giou'].item() == pytest.approx(2 * (1 - 0.5), rel=1e-5)
    assert losses['class_error'].item() == 0
    # The first query has a tie that argmax gives to class 0, so two objects are predicted.
    assert losses['cardinality_error'].item() == 1


def test_auxiliary_layers_are_losses_of_their_own():
    one = predict([[0.5, 0.5, 0.2, 0.2]] * N, [[1, 0, 0]] * N)
    other = predict([[0.2, 0.5, 0.4, 0.2]] * N, [[0, 1, 0]] * N)
    both = SetPrediction(
        torch.cat((one.logits, other.logits)), torch.cat((one.bboxes, other.bboxes))
    )
    samples = [sample([[4, 1, 8, 5], [0, 0, 20, 10]], [0, 1])]
    criterion = build()
    losses = criterion(both, samples)
    for name in ('loss_cls', 'loss_bbox', 'loss_giou'):
        torch.testing.assert_close(losses[f'd0.{name}'], criterion(one, samples)[name])
        torch.testing.assert_close(losses[name], criterion(other, samples)[name])


def test_images_without_objects_give_gradients():
    prediction = predict([[0.5, 0.5, 0.2, 0.2]] * N, [[1, 0, 0]] * N)
    losses = build()(prediction, [sample([], [])])
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert losses['loss_cls'].item() == pytest.approx(math.log(math.e + 2), rel=1e-6)
    assert losses['loss_bbox'].item() == losses['loss_giou'].item() == 0
    assert losses['cardinality_error'].item() == N
    assert prediction.logits.grad.abs().sum() > 0
    assert prediction.bboxes.grad.abs().sum() == 0


def test_dropped_losses_are_absent():
    prediction = predict([[0.5, 0.5, 0.2, 0.2]] * N, [[1, 0, 0]] * N)
    losses = build(loss_giou=None)(prediction, [sample([[4, 1, 8, 5]], [0])])
    assert {name for name in losses if 'loss' in name} == {'loss_cls', 'loss_bbox'}


def test_half_precision_predictions_give_float32_losses():
    prediction = predict([[0.5, 0.5, 0.2, 0.2]] * N, [[1, 0, 0]] * N)
    half = SetPrediction(prediction.logits.bfloat16(), prediction.bboxes.bfloat16())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = build()(half, [sample([[4, 1, 8, 5]], [0])])
    assert all(value.dtype == torch.float32 for value in losses.values())


def test_non_finite_prediction_names_the_image():
    prediction = predict([[0.5, 0.5, float('nan'), 0.2]] * N, [[1, 0, 0]] * N)
    with pytest.raises(FloatingPointError, match=r'\[7\]'):
        build()(prediction, [sample([], [])])


@pytest.mark.parametrize('label', [K, -1])
def test_label_out_of_range_names_the_image(label):
    prediction = predict([[0.5, 0.5, 0.2, 0.2]] * N, [[1, 0, 0]] * N)
    with pytest.raises(ValueError, match=rf'image 7 .*\[{label}\].*num_classes'):
        build()(prediction, [sample([[4, 1, 8, 5]], [label])])


def test_surplus_objects_are_counted_not_repeated(capsys):
    MMLogger.get_instance('surplus')  # becomes the current logger
    prediction = predict([[0.5, 0.5, 0.2, 0.2]] * N, [[1, 0, 0]] * N)
    criterion = build()
    crowded = [sample([[4, 1, 8, 5]] * (N + 1), [0] * (N + 1))]
    for _ in range(12):
        losses = criterion(prediction, crowded)
    assert losses['loss_bbox'].isfinite()
    log = capsys.readouterr().out
    counts = re.findall(r'(\d+) training images so far had more', log)
    assert f'image id 7 has {N + 1}' in ' '.join(log.split())
    assert counts == ['1', '10']


def test_no_object_weight_of_zero_without_objects():
    """Nothing has a weight then: the loss is 0, not 0 / 0."""
    prediction = predict([[0.5, 0.5, 0.2, 0.2]] * N, [[1, 0, 0]] * N)
    loss_cls = dict(type='CrossEntropyLoss', no_object_weight=0.0)
    losses = build(loss_cls=loss_cls)(prediction, [sample([], [])])
    assert losses['loss_cls'].item() == 0
    losses['loss_cls'].backward()
    assert prediction.logits.grad.abs().sum() == 0


def test_labels_are_judged_where_the_preprocessor_saw_them():
    """A GPU is not waited for: the range noted on the CPU decides."""
    crowded = sample([[4, 1, 8, 5]], [0])
    crowded.set_metainfo(dict(label_range=(0, K)))
    with pytest.raises(ValueError, match='image 7 has labels'):
        build().targets([crowded], torch.device('cpu'))
    preprocessor = DetDataPreprocessor()
    data = dict(inputs=[torch.zeros(3, 10, 20)], data_samples=[sample([[0, 0, 1, 1]] * 2, [1, 0])])
    (seen,) = preprocessor(data, training=True)['data_samples']
    assert seen.label_range == (0, 1)


def test_logits_without_no_object_are_refused_by_cross_entropy():
    prediction = predict([[0.5, 0.5, 0.2, 0.2]] * N, [[1, 0]] * N)
    prediction = prediction.replace(class_activation=SigmoidClasses())
    with pytest.raises(ValueError, match=r'bbox_head\.class_activation .* not SigmoidClasses'):
        build()(prediction, [sample([[4, 1, 8, 5]], [0])])


def test_sigmoid_classes_are_matched_and_counted():
    prediction = predict([[0.3, 0.3, 0.2, 0.4]] * N, [[-1, -2], [-1, 3], [-4, -5]])
    prediction = prediction.replace(class_activation=SigmoidClasses())
    samples = [sample([[4, 1, 8, 5]], [1])]
    criterion = build()
    targets = criterion.targets(samples, torch.device('cpu'))
    assignment = criterion.match(prediction, targets)
    assert assignment.query.tolist() == [[1]]
    labels = criterion.target_labels(prediction, targets, assignment)
    figures = criterion.statistics(prediction, labels, targets)
    assert figures['object_share'].item() == pytest.approx(1 / 3)
    assert figures['matched_score'].item() == pytest.approx(1 / (1 + math.exp(-3)))
    assert (figures['class_error'].item(), figures['cardinality_error'].item()) == (0, 0)


def test_losses_of_an_assignment_from_elsewhere():
    """Denoising: two queries for one object, nothing is matched."""
    prediction = predict(
        bboxes=[[0.3, 0.3, 0.4, 0.4], [0.3, 0.3, 0.2, 0.8], [0.9, 0.1, 0.1, 0.1]],
        logits=[[2, 0, 0], [2, 0, 0], [0, 0, 1]],
    )
    criterion = build(statistics=None)
    targets = criterion.targets([sample([[4, 1, 8, 5]], [0])], torch.device('cpu'))
    pairs = [[0, 0]], [[0, 1]], [[0, 0]]
    assignment = Assignment(*(torch.tensor(each) for each in pairs))
    losses = criterion.losses(prediction, targets, assignment)
    assert losses['loss_bbox'].item() == pytest.approx(5 * (0.2 + 0.4), rel=1e-5)
    matched = math.log(math.e**2 + 2) - 2
    other = math.log(2 + math.e) - 1
    assert losses['loss_cls'].item() == pytest.approx((2 * matched + 0.1 * other) / 2.1, rel=1e-5)
    assert set(criterion(prediction, [sample([[4, 1, 8, 5]], [0])])) == set(losses)


def test_health_by_hand():
    """Two objects; both matched queries, the second with the wrong class."""
    prediction = predict(
        bboxes=[[0.3, 0.3, 0.2, 0.4], [0.75, 0.5, 0.5, 1], [0.3, 0.3, 0.2, 0.4]],
        logits=[[2, 0, 0], [1, 0, 0], [0, 0, 1]],
    )
    health = build()(prediction, [sample([[4, 1, 8, 5], [10, 0, 20, 10]], [0, 1])])
    assert health['object_share'].item() == pytest.approx(2 / 3)
    assert (health['num_matched'].item(), health['num_correct'].item()) == (2, 1)
    scores = math.e**2 / (math.e**2 + 2), 1 / (math.e + 2)
    assert health['matched_score'].item() == pytest.approx(sum(scores) / 2)
    # Of values a, b, a the variance is 2/9 (a - b)^2.
    distances = (0.45, 0.2, 0.3, 0.6)
    spread = sum(math.sqrt(2) / 3 * distance for distance in distances) / 4
    assert health['box_spread'].item() == pytest.approx(spread, rel=1e-5)
    assert not any(health[name].requires_grad for name in ('matched_score', 'box_spread'))


def test_health_without_objects():
    health = build()(predict([[0.5, 0.5, 0.2, 0.2]] * N, [[0, 0, 1]] * N), [sample([], [])])
    names = ('object_share', 'box_spread', 'matched_score', 'num_matched', 'num_correct')
    assert [health[name].item() for name in names] == [0] * 5
