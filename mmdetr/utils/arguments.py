"""Arguments of constructors."""

import inspect
import math
from collections.abc import Callable, Iterator


def check_at_least(least: float, owner: str, **arguments: float | None) -> None:
    """Refuse arguments that are smaller than ``least``, infinite or NaN; None passes.

    Raises:
        ValueError: Names the class that takes the argument, the argument and its limit.
    """
    for name, value in arguments.items():
        if value is not None and not least <= value < math.inf:
            raise ValueError(f'{name} of {owner} must be {least} or more, not {value}')


def initialisers(builder: Callable) -> Iterator[Callable]:
    """Yield the functions whose arguments a class or function takes by name.

    Those of base classes come last: a class hands on to them what it takes as ``**kwargs``.
    """
    if not inspect.isclass(builder):
        yield builder
        return
    for base in builder.__mro__:
        init = vars(base).get('__init__')
        if init is not None and base is not object:
            yield init
