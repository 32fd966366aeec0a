"""The parts of a report that show what a detector finds and what it gets wrong."""

from collections.abc import Sequence

import numpy as np

from mmdetr.evaluation.box_scores import BoxScores
from mmdetr.evaluation.matching import MatchedDetections
from mmdetr.evaluation.operating_point import (
    expected_error,
    measure_operating_point,
    reliability,
)
from mmdetr.utils.operating_point import OperatingPoint
from mmdetr.visualization import DetVisualizer

from .errors import (
    Judgement,
    confusion_matrix,
    count_errors,
    error_costs,
    judge,
    precision_recall,
)
from .evaluation import Evaluation, ImageResult
from .page import Section, matrix, note, picture, table
from .svg import Series, bar_chart, line_chart

NUM_PICTURES = 4
MOST_CURVES = 12
LARGEST_MATRIX = 25
_MEANING = {
    'class': 'right place, wrong class',
    'place': 'right class, overlap of 0.1 to 0.5',
    'both': 'wrong class and overlap of less than 0.5',
    'duplicate': 'found again',
    'background': 'nothing there',
    'missed': 'object that nothing points at',
    'wrong': 'all wrong detections together',
    'not found': 'all objects that were not found',
}
_MASKS = (
    'Scores, errors and counts on this page are those of boxes, where there is stuff those of '
    'things. Masks are drawn in the pictures; their AP and PQ, as each validation measured them, '
    'are in the last chart of the training.'
)


def evaluation_sections(evaluation: Evaluation, score_thr: float | None) -> list[Section]:
    """Show results, operating point, errors and pictures.

    Args:
        evaluation: Of the validation data.
        score_thr: Least score of what is shown; None takes the operating point.
    """
    tables, matched = evaluation.scores()
    judgement = judge(evaluation.images)
    measured = measure_operating_point(matched, evaluation.classes, len(evaluation.images))
    least = [
        evaluation.point.threshold_of(name) if score_thr is None else score_thr
        for name in evaluation.classes
    ]
    return [
        _scores(evaluation, tables, matched, measured),
        _operating_point(evaluation, matched, measured, score_thr),
        _errors(judgement, least),
        _confusion(evaluation, least),
        _pictures(evaluation, least, score_thr),
    ]


def _scores(
    evaluation: Evaluation,
    tables: BoxScores,
    matched: MatchedDetections,
    measured: OperatingPoint,
) -> Section:
    heads = ['class', 'objects', 'AP', 'AP50', 'AP75', 'AP small', 'AP medium', 'AP large']
    rows: list[list] = []
    summary = tables.summary()
    keys = [f'bbox_mAP{end}' for end in ('', '_50', '_75', '_s', '_m', '_l')]
    for k, name in enumerate(evaluation.classes):
        values = tables.class_average_precision(k)
        rows.append([name, int(matched.num_objects[k]), *(values[key] for key in keys)])
    mean = [None if summary[key] == -1 else summary[key] for key in keys]
    rows.append(['all', int(matched.num_objects.sum()), *mean])
    shown = np.argsort(-matched.num_objects, kind='stable')[:MOST_CURVES]
    series = []
    for k in shown.tolist():
        own = matched.labels == k
        recall, precision = precision_recall(
            matched.scores[own], matched.correct[own], int(matched.num_objects[k])
        )
        series.append(Series(evaluation.classes[k], recall.tolist(), precision.tolist()))
    chart = line_chart(series, 'recall', 'precision at IoU 0.5', (0, 1), (0, 1))
    body = table(heads, rows) + '<h3>Precision and recall</h3>' + chart
    if len(evaluation.classes) > MOST_CURVES:
        body += note(f'The {MOST_CURVES} classes with the most objects.')
    if evaluation.has_masks:
        body = note(_MASKS) + body
    return Section('results', 'Results on the validation data', body)


def _operating_point(
    evaluation: Evaluation,
    matched: MatchedDetections,
    measured: OperatingPoint,
    score_thr: float | None,
) -> Section:
    used = evaluation.point.describe() if score_thr is None else f'score threshold {score_thr:g}'
    body = note(f'Pictures, confusion and counts of errors on this page: {used}.')
    heads = ['class', 'threshold', 'precision', 'recall', 'F1', 'objects', 'in the checkpoint']
    points = [*measured.classes, *([measured.everything] if measured.everything else [])]
    stated = evaluation.point
    rows: list[list] = []
    for each in points:
        own = stated.threshold if each.name == 'all' else stated.threshold_of(each.name)
        row = [each.name, each.threshold, each.precision, each.recall, each.f1, each.num_objects]
        rows.append([*row, own if stated.measured else None])
    body += '<h3>Best F1 at IoU 0.5, measured now</h3>'
    body += table(heads, rows) if rows else note('No detection is right.')
    return Section('point', 'Operating point and calibration', body + _calibration(matched))


def _calibration(matched: MatchedDetections) -> str:
    bins = reliability(matched.scores, matched.correct)
    series = [
        Series('as measured', [b.confidence for b in bins], [b.precision for b in bins], True),
        Series('scores that can be believed', [0, 1], [0, 1], dashed=True),
    ]
    rows = [[f'{b.low:.1f} to {b.high:.1f}', b.size, b.confidence, b.precision] for b in bins]
    above = [each for each in bins if each.low >= 0.1]
    text = (
        f'Expected error of the scores (ECE): {expected_error(bins):.3f} over all detections'
        + (f', {expected_error(above):.3f} over those from 0.1 on.' if above else '.')
        + ' Points below the line: the scores promise too much.'
    )
    return (
        '<h3>Calibration</h3>'
        + note(text)
        + line_chart(series, 'mean score', 'share of right detections', (0, 1), (0, 1))
        + table(['scores', 'detections', 'mean score', 'right'], rows)
    )


def _errors(judgement: Judgement, least: Sequence[float]) -> Section:
    costs = error_costs(judgement, len(least))
    counts = count_errors(judgement, least)
    names = list(counts)
    rows = [[name, _MEANING[name], counts.get(name), costs[name]] for name in costs]
    body = note(
        'AP50 that would be won if all errors of one kind were put right and the others left as '
        'they are; counts are of what is shown at the operating point. After TIDE (Bolya et al., '
        '2020).'
    )
    body += table(['error', 'meaning', 'count', 'costs AP50'], rows)
    body += bar_chart(names, [costs[name] for name in names], 'AP50 that an error costs')
    return Section('errors', 'Kinds of errors', body)


def _confusion(evaluation: Evaluation, least: Sequence[float]) -> Section:
    names = [*evaluation.classes, 'no object']
    counts = confusion_matrix(evaluation.images, len(evaluation.classes), least)
    if len(names) <= LARGEST_MATRIX:
        body = matrix(names, counts, 'object / taken for')
    else:
        body = note(f'The most frequent confusions of {len(names) - 1} classes.')
        wrong = counts - np.diag(np.diag(counts))
        order = np.argsort(-wrong, axis=None, kind='stable')[:40]
        pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
        rows = [[names[i], names[j], int(wrong[i, j])] for i, j in pairs if wrong[i, j]]
        body += table(['object', 'taken for', 'times'], rows)
    body += note(
        'Last column: objects that nothing found. Last row: detections where no object is. Boxes '
        'are compared at IoU 0.5, whatever their class.'
    )
    return Section('confusion', 'What is taken for what', body)


def _pictures(evaluation: Evaluation, least: Sequence[float], score_thr: float | None) -> Section:
    rated = []
    for image in evaluation.images:
        counts, right = _count_image(image, least)
        wrong = sum(counts.values())
        f1 = 2 * right / (2 * right + wrong) if right + wrong else 1.0
        rated.append((f1, wrong, right, counts, image))
    worst = sorted(rated, key=lambda each: (each[0], -each[1]))[:NUM_PICTURES]
    taken = {id(each[-1]) for each in worst}
    rest = [each for each in rated if id(each[-1]) not in taken and each[2]]
    best = sorted(rest, key=lambda each: (-each[0], -each[2]))[:NUM_PICTURES]
    visualizer = DetVisualizer()
    visualizer.dataset_meta = evaluation.dataset.metainfo
    visualizer.operating_point = evaluation.point
    body = note('Ground truth left, predictions right.')
    for title, chosen in (('Worst', worst), ('Best', best)):
        body += f'<h3>{title}</h3>'
        for f1, _, right, counts, image in chosen:
            found = [f'{count} {kind}' for kind, count in counts.items() if count]
            name = image.path or f'generated image {image.img_id}'
            caption = f'{name}: F1 {f1:.2f}, {right} right; {", ".join(found) or "no error"}'
            drawn = visualizer.draw(
                evaluation.load(image), evaluation.sample(image), pred_score_thr=score_thr
            )
            body += picture(drawn, caption)
    return Section('pictures', 'Worst and best images', body)


def _count_image(image: ImageResult, least: Sequence[float]) -> tuple[dict[str, int], int]:
    """Errors of an image by kind, all missing objects among them, and right detections."""
    judgement = judge([image])
    counts = count_errors(judgement, least)
    shown = [each for each in judgement.detections if each.score >= least[each.label]]
    right = sum(each.kind == 'right' for each in shown)
    counts['missed'] = len(judgement.objects) - right
    return counts, right
