"""Look for what in the objects of a dataset makes a training fail or learn little."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmdetr.utils.text import shorten

from .check import SUSPICIOUS_SHARE, Finding, image_infos, suspicions_of

NEGLIGIBLE_SHARE = 0.02  # of areas that rounding or sloppiness explains


def check_objects(
    dataset: Any, name: str, num_queries: int | None, required: bool = True
) -> list[Finding]:
    """Find wrong labels, dirty boxes, empty classes, more objects than queries; reads no file.

    Args:
        dataset: One of :func:`named_leaves`.
        name: How messages call it.
        num_queries: N of the model, if known.
        required: Whether it is an error that there are no objects at all.
    """
    per_class: Counter = Counter()
    per_image, ids, num_crowds = [], [], 0
    for info in image_infos(dataset):
        objects = info.get('instances', ())  # none in test data of one's own
        labels = [each['bbox_label'] for each in objects if not each['ignore_flag']]
        per_class.update(labels)
        per_image.append(len(labels))
        ids.append(info['img_id'])
        num_crowds += len(objects) - len(labels)
    counts = np.array(per_image)
    findings = _describe(name, counts, required, num_crowds)
    findings += _check_crowds(name, sum(per_image), num_crowds)
    findings += _check_placeholders(dataset, name)
    findings += _check_stated_boxes(dataset, name, sum(per_image) + num_crowds)
    findings += _check_dirty_boxes(dataset, name, sum(per_image))
    classes = dataset.metainfo.get('classes', ())
    findings += _check_names(name, classes)
    wrong = sorted(label for label in per_class if not 0 <= label < len(classes))
    if classes and wrong:
        findings.append(
            Finding(
                'error',
                f'{name}: labels {shorten(wrong)} are none of its {len(classes)} classes: a '
                'dataset gives bbox_label 0 to the number of classes less one',
            )
        )
    without = [each for label, each in enumerate(classes) if not per_class[label]]
    if without and counts.any():
        findings.append(
            Finding(
                'warning', f'{name}: no instances of {len(without)} classes: {shorten(without)}'
            )
        )
    if num_queries is not None and (counts > num_queries).any():
        crowded = [ids[i] for i in (counts > num_queries).nonzero()[0]]
        findings.append(
            Finding(
                'warning',
                f'{name}: {len(crowded)} images have more objects than the {num_queries} queries, '
                f'up to {counts.max()}, image ids {shorten(crowded)}: the rest is neither learnt '
                "nor found. Raise the head's num_queries",
            )
        )
    return findings


def _check_crowds(name: str, num_objects: int, num_crowds: int) -> list[Finding]:
    if not num_crowds or not num_objects:
        return []
    share = num_crowds / (num_objects + num_crowds)
    text = f'{name}: {num_crowds} of {num_objects + num_crowds} annotations have iscrowd=1'
    if share <= SUSPICIOUS_SHARE:
        return [Finding('info', f'{text}; they are not learnt')]
    return [
        Finding(
            'warning',
            f'{text}, {share:.0%}: they are not learnt, and detections inside them do not count. '
            'Some exporters set it by mistake; single objects need iscrowd=0',
        )
    ]


def _check_placeholders(dataset: Any, name: str) -> list[Finding]:
    left_out = getattr(dataset, 'placeholders', None)
    if not left_out:
        return []
    shown = shorten(f'{cat_id} {text!r}' for cat_id, text in left_out.items())
    return [
        Finding(
            'warning',
            f"{name}: category {shown} is an exporter's placeholder without annotations and is "
            'no class. Name it in metainfo.classes if it is meant',
        )
    ]


def _check_stated_boxes(dataset: Any, name: str, num_boxes: int) -> list[Finding]:
    """Count what only the boxes as the file states them show."""
    suspicions = suspicions_of(dataset)
    kinds = (
        (
            suspicions.duplicates,
            'boxes repeat another of the same class and image',
            'the model learns to find such objects twice. Remove the copies',
        ),
        (
            suspicions.relabelled,
            'boxes repeat another of the same image with another class',
            'one object is learnt as several. Keep one class of each, unless that is meant',
        ),
        (
            suspicions.unit_boxes,
            'boxes lie within 0..1, as fractions of the image do',
            'COCO format is pixels. Multiply them by width and height',
        ),
    )
    findings = [
        Finding(
            'warning',
            f'{name}: {len(ids)} of {num_boxes} {what}, in image ids {_unique(ids)}: {advice}',
        )
        for ids, what, advice in kinds
        if ids
    ]
    if len(suspicions.areas) > NEGLIGIBLE_SHARE * num_boxes:
        findings.append(
            Finding(
                'warning',
                f"{name}: {len(suspicions.areas)} of {num_boxes} annotations state an 'area' that "
                'no object in their box has (in pixels, at most width x height), in image ids '
                f'{_unique(suspicions.areas)}: scores of small, medium and large objects go by it. '
                "Correct 'area', or leave it out",
            )
        )
    return findings


def _check_names(name: str, classes: Sequence[str]) -> list[Finding]:
    """Find classes whose names differ in case and spaces only, and names of nothing."""
    by_form: dict[str, list[str]] = defaultdict(list)
    for each in classes:
        by_form[' '.join(str(each).casefold().split())].append(each)
    alike = [' = '.join(map(repr, names)) for names in by_form.values() if len(names) > 1]
    findings = []
    if alike:
        findings.append(
            Finding(
                'warning',
                f'{name}: names of classes differ in case or spaces only: {shorten(alike)}. If '
                'they mean the same, give them one category',
            )
        )
    if '' in by_form:
        findings.append(Finding('warning', f'{name}: a class has an empty name'))
    return findings


def _unique(ids: list) -> str:
    return shorten(dict.fromkeys(ids))


def _describe(name: str, counts: np.ndarray, required: bool, num_crowds: int) -> list[Finding]:
    if not counts.any():
        level = 'error' if required else 'warning'
        if num_crowds:
            return [
                Finding(
                    level,
                    f'{name}: no object to learn from: all {num_crowds} annotations have '
                    'iscrowd=1. Single objects need iscrowd=0',
                )
            ]
        return [Finding(level, f'{name}: none of {len(counts)} images has an object')]
    return [
        Finding(
            'info',
            f'{name}: {len(counts)} images, {counts.sum()} objects, {(counts == 0).sum()} images '
            f'without, at most {counts.max()} in one',
        )
    ]


def _check_dirty_boxes(dataset: Any, name: str, num_kept: int) -> list[Finding]:
    by_reason = {reason: len(ids) for reason, ids in getattr(dataset, 'dirty_boxes', {}).items()}
    if not by_reason:
        return []
    total = num_kept + sum(by_reason.values()) - by_reason.get('clipped', 0)
    parts = ', '.join(f'{count} {reason}' for reason, count in by_reason.items())
    text = f'{name}: of {total} boxes {parts}; all but the clipped ones are left out'
    leaving = by_reason.get('clipped', 0) + by_reason.get('outside', 0)
    if leaving > SUSPICIOUS_SHARE * total:
        text += '. Many reach beyond their images: compare sizes and boxes of the file'
    return [Finding('warning', text)]
