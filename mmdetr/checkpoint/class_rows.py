"""Which row of a checkpoint's class head belongs to which class of a model.

Only the rows of classes are counted here; some heads have one more for no-object.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from mmdetr.datasets.coco_classes import (
    COCO_CATEGORY_IDS,
    COCO_CLASSES,
    COCO_PANOPTIC_CATEGORY_IDS,
    COCO_PANOPTIC_CLASSES,
    COCO_PANOPTIC_ROWS_BY_ID,
    COCO_ROWS_BY_ID,
)

Names = tuple[str | None, ...]


class CocoHead(NamedTuple):
    """How classes of COCO may be numbered.

    Attributes:
        classes: Their names without gaps, in the order of their category ids.
        category_ids: Their ids.
        rows_by_id: Names where the row is the category id, None in unused rows.
    """

    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    rows_by_id: Names


COCO_HEADS = (
    CocoHead(COCO_CLASSES, COCO_CATEGORY_IDS, COCO_ROWS_BY_ID),
    CocoHead(COCO_PANOPTIC_CLASSES, COCO_PANOPTIC_CATEGORY_IDS, COCO_PANOPTIC_ROWS_BY_ID),
)


class ClassMatch(NamedTuple):
    """The rows to copy.

    Attributes:
        rows: Pairs (row of the model, row of the file).
        new: Names (or numbers) of the model's classes that the file has no row for.
        text: How they were matched, for people.
        guessed: Whether the file's names are a guess by the number of its rows.
    """

    rows: list[tuple[int, int]]
    new: list[str]
    text: str
    guessed: bool = False


def clean_names(names: Sequence[str | None] | None) -> Names | None:
    """Class names with None for placeholders (``N/A``, ``LABEL_7``); None when nothing is left."""
    if names is None:
        return None
    cleaned = tuple(
        None if n is None or re.fullmatch(r'(?i)n/a|label_\d+|', n.strip()) else n for n in names
    )
    return cleaned if any(cleaned) else None


def coco_names(num_classes: int) -> Names | None:
    """Names of COCO heads by their size.

    80 classes or 91 category ids of things, 133 classes or 250 category ids with stuff.
    """
    for head in COCO_HEADS:
        for names in (head.classes, head.rows_by_id):
            if num_classes == len(names):
                return names
    return None


def dataset_meta(names: Sequence[str | None]) -> dict[str, tuple]:
    """The ``dataset_meta`` of a checkpoint whose class rows have these names."""
    meta: dict[str, tuple] = {'classes': tuple(name or 'N/A' for name in names)}
    for head in COCO_HEADS:
        if tuple(names) == head.classes:
            meta['cat_ids'] = head.category_ids
    if tuple(names[: len(COCO_ROWS_BY_ID)]) == COCO_ROWS_BY_ID:
        meta['cat_ids'] = tuple(range(len(names)))
    return meta


def match_classes(
    source: Names | None, target: Names | None, num_source: int, num_target: int
) -> ClassMatch:
    """Find the file's row for each class of a model.

    Heads of one size, or whose names begin alike, are copied row by row unless their names
    contradict each other; else rows are matched by name, letter case and separators aside. Unknown
    names are COCO's where the size of the head is one of COCO's, which the result's text says.

    Args:
        source: Class names of the file, if it has them.
        target: Class names of the model, if known.
        num_source: Classes of the file's head.
        num_target: Classes of the model's head.
    """
    remarks = []
    guessed = False
    if source is None or len(source) != num_source:
        source = coco_names(num_source)
        guessed = source is not None
        remarks.append(f'the file does not name its {num_source} classes{_guess(source)}')
    if target is not None and len(target) != num_target:
        target = None
    if num_source == num_target and not _contradict(source, target):
        return _all_rows(num_target, 'all rows as they are', remarks)
    if target is None:
        target = coco_names(num_target)
        remarks.append(f'the {num_target} classes of the model are not named{_guess(target)}')
    if source is None or target is None:
        new = [str(i) for i in range(num_target)]
        return ClassMatch([], new, _with_remarks('no names to match by', remarks))
    if source[:num_target] == target:  # panoptic category ids go on where the things' end
        return _all_rows(num_target, f'the first {num_target} rows as they are', remarks)
    return _by_name(source, target, remarks)._replace(guessed=guessed)


def _all_rows(count: int, how: str, remarks: list[str]) -> ClassMatch:
    return ClassMatch([(i, i) for i in range(count)], [], _with_remarks(how, remarks))


def _by_name(source: Names, target: Names, remarks: list[str]) -> ClassMatch:
    row_of = {_comparable(name): i for i, name in enumerate(source) if name is not None}
    rows, new = [], []
    for i, name in enumerate(target):
        if name is not None and _comparable(name) in row_of:
            rows.append((i, row_of[_comparable(name)]))
        else:
            new.append(name or str(i))
    return ClassMatch(
        rows, new, _with_remarks(f'{len(rows)} of {len(target)} classes by name', remarks)
    )


def _guess(coco: Names | None) -> str:
    return ', taken as COCO' if coco else ''


def _with_remarks(how: str, remarks: list[str]) -> str:
    return f'{how} ({"; ".join(remarks)})' if remarks else how


def _comparable(name: str) -> str:
    """A name without letter case, underscores, hyphens and repeated blanks."""
    return re.sub(r'[\s_-]+', ' ', name).strip().casefold()


def same_classes(names: Names, others: Names) -> bool:
    """Whether two lists name the same classes in the same order."""
    return len(names) == len(others) and not _contradict(names, others)


def _contradict(source: Names | None, target: Names | None) -> bool:
    if source is None or target is None:
        return False
    return any(
        a is not None and b is not None and _comparable(a) != _comparable(b)
        for a, b in zip(source, target, strict=True)
    )
