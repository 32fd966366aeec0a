"""The operating point against a sweep over all scores, the matching against pycocotools."""

import contextlib
import io
import itertools
import subprocess
import sys

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmdetr.evaluation import CocoMetric
from mmdetr.evaluation.detections import Detections
from mmdetr.evaluation.matching import match_detections
from mmdetr.evaluation.operating_point import (
    best_f1,
    expected_error,
    measure_operating_point,
    reliability,
)
from mmdetr.utils.operating_point import OperatingPoint, operating_point_of
from tests.test_evaluation.test_coco_metric import META, instance, run, sample

NAMES = ('cat', 'dog', 'bird')


def random_case(seed, crowds=True, num_images=30):
    """Objects and detections of three classes; many equal scores, boxes near 0.5 IoU."""
    rng = np.random.default_rng(seed)
    truth, rows = [], []
    for image in range(num_images):
        for _ in range(rng.integers(0, 6)):
            label, xy = int(rng.integers(0, 3)), rng.uniform(0, 80, 2)
            box = [*xy, *rng.uniform(20, 60, 2)]
            truth.append(
                dict(
                    image_id=image + 1,
                    category_id=label + 1,
                    bbox=box,
                    area=box[2] * box[3],
                    iscrowd=int(crowds and rng.random() < 0.15),
                )
            )
            for _ in range(rng.integers(0, 4)):
                moved = np.array(box) + rng.normal(0, 7, 4)
                found = label if rng.random() < 0.8 else int(rng.integers(0, 3))
                rows.append((image, found, rng.integers(1, 20) / 20, *moved))
    rows = sorted(rows, key=lambda row: row[0])
    table = np.array(rows)
    detections = Detections(
        table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2], table[:, 3:]
    )
    return truth, detections


def iou(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def count_right(truth, detections, label, threshold):
    """Detections of a class at a threshold and how many of them are right, matched anew."""
    right = found = 0
    for image in range(30):
        objects = [
            t['bbox'] for t in truth if (t['image_id'], t['category_id']) == (image + 1, label + 1)
        ]
        chosen = [
            (score, box.tolist())
            for i, k, score, box, _ in zip(*detections[:4], itertools.repeat(None))
            if (i, k) == (image, label) and score >= threshold and box[2] * box[3] >= 0
        ]
        found += len(chosen)
        for _, box in sorted(chosen, key=lambda each: -each[0]):
            ious = [iou(box, other) for other in objects]
            if ious and max(ious) >= 0.5:
                right += 1
                objects.pop(len(ious) - 1 - ious[::-1].index(max(ious)))
    return found, right


@pytest.mark.parametrize('seed', range(3))
def test_equals_a_sweep_over_all_scores(seed):
    """Each threshold is tried by filtering the detections first and matching the rest."""
    truth, detections = random_case(seed, crowds=False)
    matched = match_detections(truth, detections, 3, 100)
    point = measure_operating_point(matched, NAMES, 30)
    objects = [sum(t['category_id'] == k + 1 for t in truth) for k in range(3)]
    curves = [
        {t: count_right(truth, detections, k, t) for t in set(detections.scores.tolist())}
        for k in range(3)
    ]
    sums = {t: np.sum([curve[t] for curve in curves], axis=0) for t in curves[0]}
    for own, curve, total in [
        *zip(point.classes, curves, objects, strict=True),
        (point.everything, sums, sum(objects)),
    ]:
        f1 = {t: 2 * right / (found + total) for t, (found, right) in curve.items()}
        best = max(f1.values())
        assert own.f1 == pytest.approx(best, abs=1e-12)
        kept = min(t for t in f1 if t >= own.threshold)
        found, right = curve[kept]
        # Of equally good ones the highest.
        highest = max(t for t in f1 if f1[t] == pytest.approx(best, abs=1e-12))
        assert tuple(curve[highest]) == (found, right)
        assert (own.precision, own.recall) == pytest.approx((right / found, right / total))
    assert [each.num_objects for each in point.classes] == objects


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('max_dets', [2, 100])
def test_matching_is_that_of_pycocotools(seed, max_dets):
    """Crowds included: which detections are right, wrong, and not counted."""
    truth, detections = random_case(seed)
    matched = match_detections(truth, detections, 3, max_dets)

    def index(annotations):
        coco = COCO()
        coco.dataset = dict(
            images=[dict(id=i + 1) for i in range(30)],
            categories=[dict(id=k + 1) for k in range(3)],
            annotations=[dict(each, id=n) for n, each in enumerate(annotations, start=1)],
        )
        coco.createIndex()
        return coco

    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOeval(index(truth), index(detections.for_scoring('bbox')), 'bbox')
        evaluator.params.iouThrs = np.array([0.5])
        evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, 1e10]], ['all']
        evaluator.params.maxDets = [max_dets]
        evaluator.evaluate()
    for k in range(3):
        expected = sorted(
            (score, matches > 0)
            for each in evaluator.evalImgs
            if each and each['category_id'] == k + 1
            for score, matches, ignored in zip(
                each['dtScores'], each['dtMatches'][0], each['dtIgnore'][0], strict=True
            )
            if not ignored
        )
        chosen = matched.labels == k
        own = zip(matched.scores[chosen].tolist(), matched.correct[chosen].tolist(), strict=True)
        assert sorted(own) == expected
        assert (np.diff(matched.scores[chosen]) <= 0).all()


def test_by_hand():
    scores = np.array([0.9, 0.8, 0.6, 0.6, 0.2])
    right = np.array([True, False, True, True, False])
    point = best_f1(scores, right, 4, 'cat')  # F1 2/5, 2/6, 6/8, 6/9
    assert (point.f1, point.precision, point.recall) == (0.75, 0.75, 0.75)
    assert point.threshold == pytest.approx(0.4)
    assert best_f1(scores, np.zeros(5, bool), 4, 'cat') is None
    assert best_f1(np.zeros(0), np.zeros(0, bool), 4, 'cat') is None


def test_reliability_by_hand():
    scores = np.array([0.05, 0.05, 0.95, 0.85, 1.0])
    right = np.array([False, False, True, False, True])
    bins = reliability(scores, right)
    assert [(b.low, b.size, b.precision) for b in bins] == [
        (0.0, 2, 0.0),
        (pytest.approx(0.8), 1, 0.0),
        (pytest.approx(0.9), 2, 1.0),
    ]
    # 2 of 5 are off by 0.05, one by 0.85, two by 0.025 in the mean.
    assert expected_error(bins) == pytest.approx((2 * 0.05 + 0.85 + 2 * 0.025) / 5)
    assert np.isnan(expected_error([]))


def test_the_metric_measures_it():
    objects = [instance([0, 0, 10, 10]), instance([50, 50, 60, 60], label=1)]
    found = ([[0, 0, 10, 10], [50, 50, 60, 60], [80, 80, 90, 90]], [0.9, 0.3, 0.2], [0, 1, 1])
    metric = CocoMetric()
    metric.dataset_meta = META
    metric.process({}, [sample(1, *found, instances=objects).to_dict()])
    metric.evaluate(1)
    point = metric.operating_point
    assert [(c.name, c.f1) for c in point.classes] == [('cat', 1.0), ('dog', 1.0)]
    assert point.threshold_of('dog') == pytest.approx(0.25)
    assert point.threshold_of('toothbrush') == point.threshold == pytest.approx(0.25)
    assert operating_point_of(dict(operating_point=point.to_dict())) == point
    assert point.describe().startswith('score threshold 0.25 to 0.45 by class (best F1 on 1 ')
    # Nothing right: no point.
    metric.results.clear()
    metric.process({}, [sample(1, [[0, 0, 1, 1]], [0.9], [0], instances=objects).to_dict()])
    metric.evaluate(1)
    assert metric.operating_point.to_dict() is None
    assert run([sample(1, *found, instances=objects)])['coco/bbox_mAP_50'] == 1.0


@pytest.mark.parametrize(
    'stated', [None, 3, 'x', {}, dict(everything=None), dict(everything=dict(name='all'))]
)
def test_files_without_it_fall_back(stated):
    point = operating_point_of(dict(operating_point=stated))
    assert point == OperatingPoint(None)
    assert point.thresholds([0, 5], ['cat']) == [0.3, 0.3]
    assert point.describe().startswith('score threshold 0.3: the checkpoint states no')
    assert operating_point_of(None) == operating_point_of({}) == point


def test_reading_needs_no_torch():
    code = (
        'import sys; import mmdetr.utils.operating_point as o; o.operating_point_of({}); '
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
