"""JSON values of every kind, and good files with something changed."""

import copy
import json
from typing import Any

from hypothesis import strategies as st

HUGE = [2**31, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**30, -(10**30), 10**400, -(10**400)]
NON_FINITE = [float('nan'), float('inf'), float('-inf')]

numbers = st.one_of(
    st.integers(-3, 120),
    st.floats(-5, 130).map(lambda value: round(value, 2)),
    st.sampled_from([0.0, -0.0, 0.5, 1e-7, 1e-30, 99.9999999, 1e30, 1e308, -1e308]),
    st.floats(),
    st.sampled_from(HUGE),
    st.sampled_from(NON_FINITE),
)
text = st.one_of(
    st.sampled_from(['', '1', '0', 'cat', 'dog', '1.png', 'None', 'nan', '1 2 3 4', '\x00', 'é猫']),
    st.text(st.characters(), max_size=5),  # with halves of surrogate pairs, as JSON allows
)
scalars = st.one_of(st.none(), st.booleans(), numbers, text)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=3)),
    max_leaves=6,
)


def places(tree: Any) -> list[tuple]:
    """Paths of all values inside of lists and dicts."""
    if isinstance(tree, dict):
        children = list(tree.items())
    elif isinstance(tree, list):
        children = list(enumerate(tree))
    else:
        return []
    found = []
    for key, child in children:
        found += [(key,), *((key, *path) for path in places(child))]
    return found


@st.composite
def mutated(draw: Any, good: Any) -> Any:
    """A copy of ``good`` in which one to three values are replaced, left out or repeated."""
    tree = copy.deepcopy(good)
    for _ in range(draw(st.sampled_from([1, 1, 2, 3]))):
        paths = places(tree)
        if not paths:
            break
        *parents, last = draw(st.sampled_from(paths))
        parent = tree
        for key in parents:
            parent = parent[key]
        kind = draw(st.sampled_from([*['scalar'] * 4, 'value', 'drop', 'repeat', 'swap', 'cast']))
        if kind == 'drop':
            del parent[last]
        elif kind == 'repeat' and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[last]))
        elif kind == 'swap':
            parent[last] = copy.deepcopy(draw(st.sampled_from([value_at(tree, p) for p in paths])))
        elif kind == 'cast':
            cast = draw(st.sampled_from([str, float, int, bool, lambda v: [v], json.dumps]))
            try:
                parent[last] = cast(parent[last])
            except (TypeError, ValueError, OverflowError):
                parent[last] = None
        else:
            parent[last] = draw(scalars if kind == 'scalar' else values)
    return tree


def value_at(tree: Any, path: tuple) -> Any:
    for key in path:
        tree = tree[key]
    return tree
