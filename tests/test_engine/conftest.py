import pytest


@pytest.fixture(autouse=True)
def _quick_runner(quick_runner: None) -> None:
    """These tests build hundreds of runners."""
