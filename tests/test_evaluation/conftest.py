import logging

import pytest
from mmengine.logging import MMLogger


@pytest.fixture
def log_messages():
    """Messages of mmengine's logger, warnings among them."""
    records: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record):
            records.append(record.getMessage())

    handler = Keep()
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)
