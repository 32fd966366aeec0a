"""What kinds of errors a detector makes and what each costs, and what it takes for what.

Legend: N detections and G objects of one image, K classes.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mmdetr.evaluation.coco_annotations import LARGEST_AREA
from mmdetr.evaluation.matching import assign, box_ious

from .evaluation import MAX_DETS, ImageResult

FOREGROUND, BACKGROUND = 0.5, 0.1
# In the order in which a wrong detection is asked what it is.
KINDS = ('place', 'class', 'duplicate', 'background', 'both')
MISSED = 'missed'


class Judged(NamedTuple):
    """A detection that counts.

    Attributes:
        label, score: Of the detection.
        kind: ``'right'`` or one of :data:`KINDS`.
        target: Number of the object that it is right about, or would be if place or class were
            right; over all images. None for the other kinds.
    """

    label: int
    score: float
    kind: str
    target: int | None


class Judgement(NamedTuple):
    """All detections and objects of a dataset.

    Attributes:
        detections: With their kinds.
        objects: Label of each object, crowds left out.
        found: Numbers of the objects that a right detection found.
    """

    detections: list[Judged]
    objects: list[int]
    found: set[int]

    @property
    def missed(self) -> set[int]:
        """Objects that nothing found and that no error of place or class is about."""
        blamed = {each.target for each in self.detections if each.kind in ('place', 'class')}
        return set(range(len(self.objects))) - self.found - blamed


def judge(images: Sequence[ImageResult]) -> Judgement:
    """Say of each detection whether it is right at IoU 0.5, or what is wrong with it.

    Source: Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors, section
        2.2: overlap with an object of its class of 0.1 to 0.5 (place), with one of another class of
        0.5 or more (class), with one of its class that a better detection has (duplicate), with
        none of 0.1 (background), else both. Asked in the order of :data:`KINDS`, as the authors'
        code does. Detections in a crowd of their class or of an impossible area, and those beyond
        the hundred best of a class in an image, do not count, as in COCO's AP.
    """
    detections: list[Judged] = []
    objects: list[int] = []
    found: set[int] = set()
    for image in images:
        first = len(objects)
        boxes, labels = image.objects()
        objects += labels.tolist()
        same, ious, assigned, counts = _match(image, boxes, labels)
        for n in np.flatnonzero(counts).tolist():
            kind, place = 'right', int(assigned[n])
            if place < 0:
                kind, place = _kind(ious[n], same[n])
            else:
                found.add(first + place)
            target = None if place < 0 else first + place
            detections.append(Judged(int(image.labels[n]), float(image.scores[n]), kind, target))
    return Judgement(detections, objects, found)


def _match(
    image: ImageResult, boxes: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Same class or not [N, G], IoU [N, G], object of each right one [N], whether it counts [N]."""
    found = _xywh(image.bboxes)
    ious = box_ious(found, _xywh(boxes))
    same = image.labels[:, None] == labels[None]
    counts = np.zeros(len(found), dtype=bool)
    assigned = np.full(len(found), -1)
    crowd_boxes, crowd_labels = image.objects(crowds=True)
    in_crowd = box_ious(found, _xywh(crowd_boxes), np.ones(len(crowd_boxes)))
    in_crowd = (in_crowd * (image.labels[:, None] == crowd_labels[None]) >= FOREGROUND).any(1)
    areas = found[:, 2] * found[:, 3]
    scorable = (areas >= 0) & (areas <= LARGEST_AREA) & ~in_crowd
    for label in np.unique(image.labels).tolist():
        rows = np.flatnonzero(image.labels == label)[: MAX_DETS[-1]]
        of_class = np.where(same[rows], ious[rows], 0.0)
        assigned[rows] = assign(of_class, np.zeros(len(labels), dtype=bool), FOREGROUND)
        counts[rows] = (assigned[rows] >= 0) | scorable[rows]
    return same, ious, assigned, counts


def _kind(ious: np.ndarray, same: np.ndarray) -> tuple[str, int]:
    """What is wrong with a detection of these overlaps [G], and the object it is about or -1."""
    if not len(ious):
        return 'background', -1
    own, other = np.where(same, ious, 0.0), np.where(same, 0.0, ious)
    if BACKGROUND <= own.max() < FOREGROUND:
        return 'place', int(own.argmax())
    if other.max() >= FOREGROUND:
        return 'class', int(other.argmax())
    if own.max() >= FOREGROUND:
        return 'duplicate', -1
    return ('background' if ious.max() < BACKGROUND else 'both'), -1


def error_costs(judgement: Judgement, num_classes: int) -> dict[str, float]:
    """AP at IoU 0.5 that would be won if one kind of error were put right, the others left.

    Errors of place and class become right; where several are about one object, or it is found
    already, all but the best go. The other wrong detections go. Missed objects count no more. Each
    kind is put right alone, so the gains do not add up. ``'wrong'`` removes all wrong detections,
    ``'not found'`` all objects that were not found.

    Returns:
        By kind, in 0..1.

    Source: TIDE, section 2.3. Of several errors about one object, the best of the same kind counts,
        where the authors' code also looks at the other kind.
    """
    totals = np.bincount(judgement.objects, minlength=num_classes)
    before = _mean_ap(judgement.detections, totals)
    gains = {kind: _mean_ap(_fixed(judgement, kind), totals, totals) - before for kind in KINDS}
    for name, left in ((MISSED, judgement.missed), ('not found', _not_found(judgement))):
        fewer = totals - np.bincount(
            [judgement.objects[each] for each in left], minlength=num_classes
        )
        gains[name] = _mean_ap(judgement.detections, fewer, totals) - before
    right = [each for each in judgement.detections if each.kind == 'right']
    gains['wrong'] = _mean_ap(right, totals) - before
    order = ('class', 'place', 'both', 'duplicate', 'background', MISSED, 'wrong', 'not found')
    return {kind: gains[kind] for kind in order}


def count_errors(judgement: Judgement, least: Sequence[float]) -> dict[str, int]:
    """How often each kind of error occurs among what is shown.

    Args:
        judgement: Of all detections.
        least: Score from which on a detection of each class is shown.
    """
    shown = [each for each in judgement.detections if each.score >= least[each.label]]
    counts = {
        kind: sum(each.kind == kind for each in shown)
        for kind in ('class', 'place', 'both', 'duplicate', 'background')
    }
    counts[MISSED] = len(
        judgement._replace(
            detections=shown,
            found={
                each.target for each in shown if each.kind == 'right' and each.target is not None
            },
        ).missed
    )
    return counts


def _not_found(judgement: Judgement) -> set[int]:
    return set(range(len(judgement.objects))) - judgement.found


def _fixed(judgement: Judgement, kind: str) -> Iterator[Judged]:
    """The detections once one kind of error is put right."""
    taken = set(judgement.found)
    for each in sorted(judgement.detections, key=lambda each: -each.score):
        if each.kind != kind:
            yield each
        elif each.target is not None and each.target not in taken:
            taken.add(each.target)
            yield Judged(judgement.objects[each.target], each.score, 'right', each.target)


def _mean_ap(
    detections: Iterator[Judged] | Sequence[Judged],
    totals: np.ndarray,
    asked: np.ndarray | None = None,
) -> float:
    """Mean over the classes that have objects (in ``asked``, by default in ``totals``)."""
    by_class = defaultdict(list)
    for each in detections:
        by_class[each.label].append((each.score, each.kind == 'right'))
    values = []
    for label in np.flatnonzero(totals if asked is None else asked).tolist():
        pairs = by_class[label]
        scores = np.array([score for score, _ in pairs])
        right = np.array([is_right for _, is_right in pairs], dtype=bool)
        values.append(average_precision(scores, right, int(totals[label])))
    return float(np.mean(values)) if values else 0.0


def average_precision(scores: np.ndarray, correct: np.ndarray, num_objects: int) -> float:
    """COCO's AP of one class at one IoU: precision at 101 recalls, each the best at or behind it.

    Args:
        scores: [N].
        correct: [N] bool.
        num_objects: What could be found; with none, and nothing wrong, the AP is 1.
    """
    recall, precision = precision_recall(scores, correct, num_objects)
    if not num_objects:
        return 1.0 if not len(scores) else 0.0
    if not len(recall):
        return 0.0
    best = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(recall, np.linspace(0, 1, 101), side='left')
    return float(np.append(best, 0.0)[place].mean())


def precision_recall(
    scores: np.ndarray, correct: np.ndarray, num_objects: int
) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision [N] after each detection, the best first."""
    right = np.cumsum(correct[np.argsort(-scores, kind='stable')])
    return right / max(num_objects, 1), right / np.arange(1, len(right) + 1)


def confusion_matrix(
    images: Sequence[ImageResult], num_classes: int, least: Sequence[float]
) -> np.ndarray:
    """What objects were taken for, among the detections that are shown.

    A detection, the best first, takes the object that it overlaps most, of any class, if the IoU is
    0.5 or more and nobody has it yet.

    Args:
        images: With their predictions.
        num_classes: K.
        least: Score from which on a detection of each class is shown.

    Returns:
        int [K + 1, K + 1], objects by row and detections by column. The last column counts objects
        that nothing found, the last row detections where no object is; those in a crowd of their
        class are left out.
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), dtype=int)
    thresholds = np.asarray(least)
    for image in images:
        boxes, labels = image.objects()
        _, ious, _, counts = _match(image, boxes, labels)
        shown = np.flatnonzero(counts & (image.scores >= thresholds[image.labels]))
        assigned = assign(ious[shown], np.zeros(len(labels), dtype=bool), FOREGROUND)
        rows = np.where(assigned >= 0, np.append(labels, num_classes)[assigned], num_classes)
        np.add.at(matrix, (rows, image.labels[shown]), 1)
        missed = np.setdiff1d(np.arange(len(labels)), assigned)
        np.add.at(matrix, (labels[missed], num_classes), 1)
    return matrix


def _xywh(boxes_xyxy: np.ndarray) -> np.ndarray:
    return np.concatenate((boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]), axis=1)
