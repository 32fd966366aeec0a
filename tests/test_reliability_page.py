"""docs/reliability.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_named_tests_exist() -> None:
    page = (ROOT / 'docs' / 'reliability.md').read_text()
    named = re.findall(r'`(tests/[\w/]+\.py)(?:::(\w+))?`', page)
    assert len(named) > 30
    for path, name in named:
        source = (ROOT / path).read_text()
        assert not name or f'def {name}(' in source, f'{path}::{name}'
