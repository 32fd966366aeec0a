"""Type hints of what a class or function can be built from."""

import contextlib
import inspect
from collections.abc import Callable
from typing import Any, Union, get_type_hints

from mmdetr.utils.arguments import initialisers

from .type_hints import find_mismatches


def argument_hints(function: Callable) -> dict[str, Any]:
    """Types of the arguments that a class or function takes by name.

    For a class with ``**kwargs`` the arguments of the classes it inherits from count as well. A
    default of another type than the hint says (``size: int = None``) widens the hint.
    """
    hints: dict[str, Any] = {}
    for init in initialisers(function):
        try:
            parameters = inspect.signature(init).parameters.values()
        except (TypeError, ValueError):  # written in C
            continue
        stated = _stated_hints(init)
        for parameter in parameters:
            hint, default = stated.get(parameter.name, Any), parameter.default
            if default is not parameter.empty and find_mismatches(default, hint, ''):
                hint = Union[hint, type(default)]  # noqa: UP007  for hints of any form
            by_name = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if by_name and parameter.name != 'self':
                hints.setdefault(parameter.name, hint)
        if all(parameter.kind != parameter.VAR_KEYWORD for parameter in parameters):
            break
    return hints


def takes_any_argument(function: Callable) -> bool:
    """Whether a class or function may take arguments that :func:`argument_hints` does not list."""
    for init in initialisers(function):
        try:
            parameters = inspect.signature(init).parameters.values()
        except (TypeError, ValueError):
            return True
        if all(parameter.kind != parameter.VAR_KEYWORD for parameter in parameters):
            return False
    return True


def _stated_hints(init: Callable) -> dict[str, Any]:
    """Hints of one function; without those of names that exist for type checkers alone."""
    stated: dict[str, Any] = {}
    for name, annotation in getattr(init, '__annotations__', {}).items():
        holder = type('holder', (), {'__annotations__': {name: annotation}})
        with contextlib.suppress(AttributeError, NameError, SyntaxError, TypeError):
            scope = getattr(init, '__globals__', {})
            stated |= get_type_hints(holder, scope, include_extras=True)
    return stated
