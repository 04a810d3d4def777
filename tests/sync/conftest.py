"""Fixtures of the tests that kill, pause and mislead the processes which deliver."""

from collections.abc import Iterator

import pytest

from tests.sync.worker_process import Workers


@pytest.fixture
def workers() -> Iterator[Workers]:
    """Starts delivering processes; what still runs after the test is ended."""
    started = Workers()
    yield started
    started.close()
