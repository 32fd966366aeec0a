"""Shared fixtures."""

import pytest
from mmengine.registry import init_default_scope


@pytest.fixture(autouse=True)
def _mmdetr_scope() -> None:
    """Registries resolve names as they do under a config with default_scope='mmdetr'."""
    init_default_scope('mmdetr')
