from typing import Any

import pytest
from mmengine.config import Config


@pytest.fixture(autouse=True)
def _no_reports(monkeypatch: Any) -> None:
    """Building a runner asks compilers for versions and formats the config: a second each time."""
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)
    monkeypatch.setattr(Config, 'pretty_text', property(lambda self: str(self._cfg_dict)))
