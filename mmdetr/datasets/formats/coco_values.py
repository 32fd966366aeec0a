"""Values of COCO JSON that an exporter may have written in any form."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def shown_id(value: Any, known: Mapping[str, Any]) -> str:
    """Write an id as JSON does, and the one that differs from it by quotes alone.

    Args:
        value: The id.
        known: All ids by their text.
    """
    text = json.dumps(value)[:40]
    other = known.get(str(value))
    return text if other is None else f'{text}, which is {json.dumps(other)} in the list'


def numbers(value: Any) -> tuple[float, float, float, float] | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    try:
        first, second, third, fourth = (float(each) for each in value)
    except (TypeError, ValueError):
        return None
    return first, second, third, fourth


def enclosing(segmentation: Any) -> tuple[float, float, float, float] | None:
    """Return the box of polygons as left, top, width, height."""
    if not isinstance(segmentation, list):
        return None
    corners = list(_flat(segmentation))
    if len(corners) < 6 or len(corners) % 2 or not all(isinstance(c, int | float) for c in corners):
        return None
    xs, ys = corners[::2], corners[1::2]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def _flat(values: list) -> Iterator[Any]:
    """Yield what is in lists of lists; JSON that is read is not nested too deeply."""
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value
