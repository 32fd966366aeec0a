"""Kinds of errors, their costs and the confusion matrix, on cases made by hand."""

import numpy as np
import pytest

from mmdetr.analysis.errors import (
    average_precision,
    confusion_matrix,
    count_errors,
    error_costs,
    judge,
)
from mmdetr.analysis.evaluation import Evaluation, ImageResult
from mmdetr.utils.operating_point import OperatingPoint

CAT, DOG = 0, 1
FAR = [500, 500, 600, 600]


def image(objects, found, crowds=()):
    """An image of (box, label) objects and (box, label, score) detections."""
    instances = [dict(bbox=box, bbox_label=label, ignore_flag=0) for box, label in objects]
    instances += [dict(bbox=box, bbox_label=label, ignore_flag=1) for box, label in crowds]
    found = sorted(found, key=lambda each: -each[2])
    return ImageResult(
        img_id=1,
        path=None,
        index=0,
        shape=(1000, 1000),
        instances=instances,
        bboxes=np.array([box for box, _, _ in found], dtype=float).reshape(-1, 4),
        scores=np.array([score for _, _, score in found]),
        labels=np.array([label for _, label, _ in found], dtype=int),
    )


BOX = [0, 0, 100, 100]
MOVED = [60, 0, 160, 100]  # IoU 40 / 160 = 0.25
CLOSE = [10, 0, 110, 100]  # IoU 90 / 110


@pytest.mark.parametrize(
    ('found', 'kind'),
    [
        ((CLOSE, CAT, 0.9), 'right'),
        ((CLOSE, DOG, 0.9), 'class'),
        ((MOVED, CAT, 0.9), 'place'),
        (([74, 0, 174, 100], CAT, 0.9), 'place'),  # IoU 26 / 174
        ((MOVED, DOG, 0.9), 'both'),
        ((FAR, CAT, 0.9), 'background'),
        (([95, 0, 195, 100], CAT, 0.9), 'background'),  # IoU 5 / 195
    ],
)
def test_kind_of_one_detection(found, kind):
    judgement = judge([image([(BOX, CAT)], [found])])
    (judged,) = judgement.detections
    assert judged.kind == kind
    assert judgement.missed == ({0} if kind in ('both', 'background') else set())


def test_duplicates_and_empty_images():
    found = [(BOX, CAT, 0.9), (CLOSE, CAT, 0.8), (CLOSE, CAT, 0.7)]
    judgement = judge([image([(BOX, CAT)], found), image([], [(BOX, DOG, 0.6)])])
    kinds = [each.kind for each in judgement.detections]
    assert kinds == ['right', 'duplicate', 'duplicate', 'background']
    # In a crowd of their class detections do not count.
    crowd = judge([image([], found, crowds=[(BOX, CAT)])])
    assert crowd.detections == []
    assert len(judge([image([], found, crowds=[(BOX, DOG)])]).detections) == 3


def test_the_hundred_best_of_a_class_count():
    found = [(FAR, label, 0.9 - i / 1000) for label in (CAT, DOG) for i in range(101)]
    detections = judge([image([(BOX, CAT)], found)]).detections
    assert sorted({each.score for each in detections})[0] == 0.9 - 99 / 1000
    assert len(detections) == 200


def test_place_goes_before_class():
    """As the authors' code asks: partly on an object of its class, fully on another one."""
    judgement = judge([image([(BOX, CAT), (MOVED, DOG)], [(MOVED, CAT, 0.9)])])
    assert [each.kind for each in judgement.detections] == ['place']


def costs(*images, num_classes=2):
    return error_costs(judge(images), num_classes)


def test_costs_by_hand():
    """Four cats; the AP is the mean of the precision at 101 recalls."""
    places = [[200 * i, 0, 200 * i + 100, 100] for i in range(4)]
    objects = [(box, CAT) for box in places]
    right = [(places[0], CAT, 0.9), (places[1], CAT, 0.5)]

    def only(*more):
        found = costs(image(objects, [*right, *more]))
        return {kind: round(gain, 6) for kind, gain in found.items() if abs(gain) > 1e-9}

    # Recall 0.5 with precision 1: 51 of 101.
    half, all_four, three = 51 / 101, 1.0, 76 / 101
    assert only() == {'missed': round(1 - half, 6), 'not found': round(1 - half, 6)}
    # Background between the two: precision 1 to recall 0.25, then 2 / 3.
    ap = (26 + 25 * 2 / 3) / 101
    gains = only((FAR, CAT, 0.7))
    assert gains['background'] == gains['wrong'] == round(half - ap, 6)
    # Put right, the moved one finds the third cat; a second one about it goes.
    moved = [(np.add(places[2], [60, 0, 60, 0]).tolist(), CAT, score) for score in (0.4, 0.3)]
    gains = only(*moved)
    assert gains['place'] == round(three - half, 6)
    # The fourth alone is missed: three remain, two of which are found.
    assert gains['missed'] == round(67 / 101 - half, 6)
    # A dog where the third cat is, before all others: no cat, and the class is right at once.
    gains = only((places[2], DOG, 0.95))
    assert gains['class'] == round(three - half, 6)
    assert 'duplicate' not in gains
    gains = only((places[0], CAT, 0.8))
    assert gains['duplicate'] == round(half - ap, 6)
    assert all_four - half == pytest.approx(gains['not found'] + ap - half, abs=0.3)


def test_errors_about_objects_that_are_found_only_go():
    """A dog on a cat that is found already gives nothing more but its absence."""
    found = [(BOX, CAT, 0.5), (BOX, DOG, 0.9), (FAR, DOG, 0.6)]
    gains = costs(image([(BOX, CAT), (FAR, DOG)], found))
    assert gains['class'] == pytest.approx((1 - 0.5) / 2)


def test_average_precision_is_coco_s():
    """Against the evaluator, class by class, with crowds and images without objects."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(40):
        objects, crowds, found = [], [], []
        for _ in range(rng.integers(0, 6)):
            xy, label = rng.uniform(0, 200, 2), int(rng.integers(0, 3))
            box = [*xy, *(xy + rng.uniform(20, 80, 2))]
            (crowds if rng.random() < 0.1 else objects).append((box, label))
            for _ in range(rng.integers(0, 4)):
                other = label if rng.random() < 0.8 else int(rng.integers(0, 3))
                found.append(((box + rng.normal(0, 9, 4)).tolist(), other, rng.random()))
        images.append(image(objects, found, crowds))
    evaluation = Evaluation(images, ['a', 'b', 'c'], '', None, OperatingPoint(None))
    tables, matched = evaluation.scores()
    judgement = judge(images)
    for k in range(3):
        own = [(d.score, d.kind == 'right') for d in judgement.detections if d.label == k]
        scores, right = map(np.array, zip(*own, strict=True))
        expected = tables.class_average_precision(k)['bbox_mAP_50']
        assert average_precision(scores, right, judgement.objects.count(k)) == pytest.approx(
            expected
        )
        assert matched.correct[matched.labels == k].sum() == right.sum()


def test_confusion_matrix_by_hand():
    images = [
        image(
            [(BOX, CAT), (MOVED, DOG), (FAR, DOG)],
            [(CLOSE, DOG, 0.9), (MOVED, DOG, 0.8), (FAR, DOG, 0.2), ([0, 900, 9, 909], CAT, 0.7)],
        ),
        image([(BOX, CAT)], []),
    ]
    # A score that is the threshold is shown.
    matrix = confusion_matrix(images, 2, [0.5, 0.8])
    assert matrix.tolist() == confusion_matrix(images, 2, [0.5, 0.5]).tolist()
    # A cat taken for a dog, one missed; a dog found, one missed below the threshold; one too much.
    assert matrix.tolist() == [[0, 1, 1], [0, 1, 1], [1, 0, 0]]
    assert confusion_matrix(images, 2, [0.5, 0.1])[1].tolist() == [0, 2, 0]
    counts = count_errors(judge(images), [0.5, 0.5])
    # The dog on the cat also lies partly on a dog, so its place is wrong.
    assert counts == dict(**{'class': 0}, place=1, both=0, duplicate=0, background=1, missed=3)
