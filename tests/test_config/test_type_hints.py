"""Values against type hints."""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Dict, List, Literal, Optional, Tuple, TypedDict, Union  # noqa: UP035

import pytest
from torch.utils.data import DataLoader

from mmdetr.config.type_hints import Range, describe_hint, find_mismatches


class Point(TypedDict, total=False):
    x: int
    label: str


class Named(TypedDict):
    name: str


Above0 = Annotated[float, Range(above=0)]


@pytest.mark.parametrize(
    ('hint', 'good', 'bad'),
    [
        (int, [0, -5, 10**30], [1.5, 2.0, True, '3', None, [1], {}]),
        (float, [0, 1.5, math.inf], [True, '1e-4', None, math.nan, [1.0], 10**400]),
        (bool, [True, False], [1, 0, 'False', None]),
        (str, ['', 'a'], [1, None, True, ['a']]),
        (None, [None], [0, '', False]),
        (int | None, [1, None], ['1', 1.5]),
        (Optional[float], [1, 0.5, None], ['1']),  # noqa: UP045
        (Union[str, List[str]], ['a', ['a'], ('a', 'b')], [1, [1], {}]),  # noqa: UP006, UP007
        (Literal['a', 1], ['a', 1], ['b', True, 1.0]),
        (dict, [{}, {'a': 1}], [None, [], 'a', 5]),
        (dict[str, int], [{}, {'a': 1}], [{'a': 'b'}, {'a': None}]),
        (Dict, [{}], [1]),  # noqa: UP006
        (list, [[], (1, 'a')], ['ab', {}, 5, None]),
        (Sequence[int], [[1], (1, 2), []], ['12', [1.5], [True], 3]),
        (Iterable[float], [[1, 2.5]], ['1', [None]]),
        (tuple[int, ...], [(1, 2, 3), [1]], [('a',)]),
        (Tuple[int, Optional[int]], [(1, None), [1, 2]], [(1,), (1, 2, 3), (None, 1)]),  # noqa: UP006, UP045
        (Point, [{}, {'x': 1}], [{'x': 'a'}, {'label': 3}, 5, None, {'lable': 'a'}]),
        (Named, [{'name': 'a', 'x': 1}], [{}, {'x': 1}, {'name': 5}, 5]),
        (Above0, [0.1, 5, math.inf], [0, -1, '1', True, math.nan]),
        (Annotated[int, Range(least=0, most=3)], [0, 3], [-1, 4, 1.5]),
        (Any, [None, 1, 'a'], []),
        (object, [None, 1], []),
        # Built from a config, named, or given as an object.
        (Callable, [{'type': 'f'}, 'f', len], [5, None, [1]]),
        (Callable[[int], int], [{'type': 'f'}, len], []),
        (Path, ['a', Path('a')], [1]),
        (DataLoader | dict, [{}], [5, None, 'a', [1]]),
    ],
)
def test_mismatches(hint: Any, good: list, bad: list) -> None:
    for value in good:
        assert find_mismatches(value, hint, 'key') == []
    for value in bad:
        assert find_mismatches(value, hint, 'key') != []
    assert describe_hint(hint)


def test_the_innermost_place_is_named() -> None:
    (found,) = find_mismatches({'a': [1, {'x': 'no'}]}, dict[str, list[int | Point]], 'top')
    assert (found.path, found.value) == ('top.a.1.x', 'no')
    assert str(found) == "top.a.1.x must be a whole number, not 'no' (str)"
    (found,) = find_mismatches(5, int | dict[str, int] | None, 'key') or [None]
    assert found is None
    (found,) = find_mismatches('x' * 999, int | None, 'key')
    assert str(found).startswith("key must be a whole number or None, not 'xxx")
    assert len(str(found)) < 150
    (found,) = find_mismatches({'a\x85\n': None}, Point, 'key')
    assert str(found) == "key.'a\\x85\\n' is read by nobody, only x, label are"


@pytest.mark.parametrize(
    ('hint', 'words'),
    [
        (int | None, 'a whole number or None'),
        (Sequence[float], 'a list of numbers'),
        (tuple[int, int | None], 'a list of 2 (a whole number, a whole number or None)'),
        (Literal['a', 'b'], "'a' or 'b'"),
        (Above0, 'a number above 0'),
        (Annotated[int, Range(least=1)], 'a whole number of 1 or more'),
        (Annotated[float, Range(least=0, most=1)], 'a number of 0 to 1'),
        (Point, 'a dict'),
        (list[Named], 'a list of dicts with name'),
        (bool, 'True or False'),
    ],
)
def test_describe_hint(hint: Any, words: str) -> None:
    assert describe_hint(hint) == words
