"""Write a config as a person would: a base, and what differs from it."""

from collections.abc import Mapping
from typing import Any

WIDTH = 96
Section = tuple[str, dict[str, Any]]
"""A comment, and the settings below it."""


def config_text(header: list[str], base: str, sections: list[Section]) -> str:
    """Return the text of a config file.

    Args:
        header: Comment lines at its top.
        base: Value of ``_base_``.
        sections: In order; those without settings are left out.
    """
    blocks = [
        '\n'.join(f'# {line}' for line in header) + f'\n_base_ = {base!r}',
        *(
            '\n'.join(
                [
                    *(f'# {line}' for line in comment.splitlines()),
                    *(f'{key} = {format_value(value)}' for key, value in settings.items()),
                ]
            )
            for comment, settings in sections
            if settings
        ),
    ]
    return '\n\n'.join(blocks) + '\n'


def format_value(value: Any, indent: int = 0) -> str:
    """Write a value on one line if it fits, dicts as ``dict(...)``."""
    line = _inline(value)
    if len(line) + indent <= WIDTH or not isinstance(value, Mapping | list | tuple) or not value:
        return line
    inner, outer = ' ' * (indent + 4), ' ' * indent
    if isinstance(value, Mapping):
        rows = [f'{key}={format_value(each, indent + 4)}' for key, each in value.items()]
        start, end = 'dict(', ')'
    else:
        rows = [format_value(each, indent + 4) for each in value]
        start, end = '[', ']'
    return f'{start}\n' + ''.join(f'{inner}{row},\n' for row in rows) + f'{outer}{end}'


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return f'dict({", ".join(f"{key}={_inline(each)}" for key, each in value.items())})'
    if isinstance(value, list | tuple):
        return f'[{", ".join(map(_inline, value))}]'
    return repr(value)


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into dicts."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        *parents, last = key.split('.')
        place = result
        for part in parents:
            place = place.setdefault(part, {})
        place[last] = value
    return result


def merge(first: dict[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Put the settings of the second into the first, and return it."""
    for key, value in second.items():
        if isinstance(value, Mapping) and isinstance(first.get(key), dict):
            merge(first[key], value)
        else:
            first[key] = value
    return first
