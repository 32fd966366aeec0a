"""Which entries of a pipeline's results have one row per object.

Boxes, labels, masks and what a user adds travel through a pipeline together: what drops an object
drops its row of each of them, and :class:`~.PackDetInputs` packs them all.
"""

from typing import Any

import numpy as np

# Name in gt_instances by key of the results.
_NAMES = {
    'gt_bboxes': 'bboxes',
    'gt_bboxes_labels': 'labels',
    'gt_ignore_flags': 'ignore_flags',
    'gt_masks': 'masks',
}
_ADDED = 'object_field_names'


def add_object_field(results: dict, name: str, values: Any) -> None:
    """Give the objects a field of one's own, for a transform that stands behind LoadAnnotations.

    Later steps see it as ``results['gt_<name>']``; they drop its rows with the objects, but do not
    change its values. The data sample gets it as ``gt_instances.<name>``.

    Args:
        results: What the pipeline hands from step to step.
        name: Name of the field.
        values: [M, ...] numbers, a row for each of the M objects.

    Raises:
        ValueError: There are more or fewer rows than objects.

    Example:
        >>> results = dict(gt_bboxes=np.array([[0, 0, 5, 5], [1, 1, 9, 9]]))
        >>> add_object_field(results, 'ages', [3, 4])
        >>> keep_objects(results, np.array([False, True]))
        >>> results['gt_ages']
        array([4])
    """
    key = f'gt_{name}'
    results[_ADDED] = {**results.get(_ADDED, {}), key: name}
    results[key] = np.asarray(values)
    _check_rows(results)


def object_fields(results: dict) -> dict[str, str]:
    """Return the name in ``gt_instances`` of each field of the objects, by its key in results."""
    names = {**_NAMES, **results.get(_ADDED, {})}
    return {key: name for key, name in names.items() if results.get(key) is not None}


def keep_objects(results: dict, kept: np.ndarray) -> None:
    """Drop objects in place: their rows of every field.

    Args:
        results: What the pipeline hands from step to step.
        kept: [M] bool.

    Raises:
        ValueError: The fields differ in their number of rows.
    """
    _check_rows(results)
    for key in object_fields(results):
        results[key] = results[key][kept]


def _check_rows(results: dict) -> None:
    rows = {key: len(results[key]) for key in object_fields(results)}
    if len(set(rows.values())) > 1:
        raise ValueError(f'the fields of the objects need a row for each object, found {rows}')
