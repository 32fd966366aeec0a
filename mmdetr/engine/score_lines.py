"""The numbers of a validation in lines of a table; those of a test all of them."""

import math
from collections.abc import Mapping, Sequence

# What COCO's numbers are called in papers.
_COLUMNS = {
    'mAP': 'AP',
    'mAP_50': 'AP50',
    'mAP_75': 'AP75',
    'mAP_s': 'APs',
    'mAP_m': 'APm',
    'mAP_l': 'APl',
}
_WIDTH = 7


def main_metric(metrics: Mapping[str, float], wanted: str | None) -> str | None:
    """Name of the number that stands for all: the wanted one, else the first of a scalar."""
    if wanted in metrics:
        return wanted
    return next((name for name, value in metrics.items() if _is_number(value)), None)


def short_name(metric: str) -> str:
    """What to call a number in few letters.

    Example:
        >>> short_name('coco/bbox_mAP'), short_name('coco_panoptic/PQ'), short_name('toy/score')
        ('AP', 'PQ', 'score')
    """
    name = metric.partition('/')[2] or metric
    return _COLUMNS.get(name.partition('_')[2], name)


def score(value: float) -> str:
    """Write a share of 1; a dash for what has nothing to be measured on."""
    if not _is_number(value) or math.isnan(value) or value == -1:
        return '-'
    return f'{value:.3f}' if abs(value) < 1000 else f'{value:.4g}'


def head(first: Sequence[str]) -> str:
    """The table's first line.

    Args:
        first: Labels of the columns before the numbers.
    """
    return _line(first, 'of', list(_COLUMNS.values()))


def rows(metrics: Mapping[str, float], first: Sequence[str]) -> list[str]:
    """A line for each kind of result, boxes and masks in the columns of :func:`head`.

    Args:
        metrics: By name, as evaluators return them; those of single classes are left out.
        first: What stands in the columns before the numbers of the first line.
    """
    lines: list[str] = []
    others: dict[str, dict[str, float]] = {}
    for kind in ('bbox', 'segm'):
        names = {f'{kind}_{name}' for name in _COLUMNS}
        found = {_bare(key): value for key, value in metrics.items() if _bare(key) in names}
        if found:
            values = [score(found.get(f'{kind}_{name}', -1)) for name in _COLUMNS]
            lines.append(_line(first if not lines else [''] * len(first), kind, values))
    for key, value in metrics.items():
        prefix, _, name = key.rpartition('/') if key.count('/') <= 1 else ('', '', '')
        if name and not name.startswith(('bbox_', 'segm_')) and _is_number(value):
            others.setdefault(prefix, {})[name] = value
    for prefix, found in others.items():
        text = '  '.join(f'{name} {score(value)}' for name, value in found.items())
        start = _line(first if not lines else [''] * len(first), '', []).rstrip()
        lines.append(f'{start}  {prefix}: {text}' if prefix else f'{start}  {text}')
    return lines


def has_columns(metrics: Mapping[str, float]) -> bool:
    """Whether there are numbers that fit below :func:`head`."""
    return any(_bare(key) in ('bbox_mAP', 'segm_mAP') for key in metrics)


def by_class(metrics: Mapping[str, float]) -> list[str]:
    """A line for each class that has a number of its own, as from ``classwise=True``."""
    lines = []
    for key, value in metrics.items():
        parts = key.split('/', 2)
        if len(parts) == 3:
            lines.append(f'  {short_name("/".join(parts[:2])):<6} {score(value):>6}  {parts[2]}')
    return lines


def _bare(key: str) -> str:
    return key.partition('/')[2]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _line(first: Sequence[str], kind: str, values: Sequence[str]) -> str:
    cells = [*(f'{text:>{_WIDTH}}' for text in first), f'  {kind:<4}']
    return ''.join([*cells, *(f'{text:>{_WIDTH}}' for text in values)])
