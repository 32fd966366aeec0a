"""How long a property is searched for counterexamples."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings


def profiles(quick: int, long: int) -> Any:
    """Parametrises a test by ``profile``, the settings for an inner function with ``@given``.

    The quick form looks at the same examples every time, the long one (``pytest -m slow``) at
    others each time.

    Args:
        quick: Examples of every run.
        long: Examples of a search.
    """
    common: dict[str, Any] = dict(
        deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True
    )
    return pytest.mark.parametrize(
        'profile',
        [
            pytest.param(settings(max_examples=quick, derandomize=True, **common), id='quick'),
            pytest.param(settings(max_examples=long, **common), id='long', marks=pytest.mark.slow),
        ],
    )
