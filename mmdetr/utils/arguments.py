"""Limits of constructors' arguments."""

import math


def check_at_least(least: float, owner: str, **arguments: float | None) -> None:
    """Refuse arguments that are smaller than ``least``, infinite or NaN; None passes.

    Raises:
        ValueError: Names the class that takes the argument, the argument and its limit.
    """
    for name, value in arguments.items():
        if value is not None and not least <= value < math.inf:
            raise ValueError(f'{name} of {owner} must be {least} or more, not {value}')
