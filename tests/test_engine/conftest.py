from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _no_environment_report(monkeypatch: Any) -> None:
    """mmengine asks compilers for their versions whenever a runner is built: half a second."""
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)
