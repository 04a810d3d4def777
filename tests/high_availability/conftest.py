"""One cluster for all tests of this folder, and the figures that they measure."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.high_availability.audit import Figures
from tests.high_availability.cluster import PROXY_MISSING, Cluster, find_proxy, running_cluster

_FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def proxy_program() -> str:
    """HAProxy's program; where it is missing, the test fails and says how to install it."""
    try:
        return find_proxy()
    except RuntimeError:
        pytest.fail(PROXY_MISSING, pytrace=False)


@pytest.fixture(scope="session")
def cluster(proxy_program: str) -> Iterator[Cluster]:
    """The set-up of the example; a test leaves it with both servers up."""
    # Where the tests run as root, PostgreSQL runs as another user, who has to reach the folder.
    folder = Path(tempfile.mkdtemp(prefix="hokusai-high-availability-"))
    folder.chmod(0o755)
    try:
        with running_cluster(folder) as cluster:
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Takes lines that are printed after the tests."""
    lines = request.config.stash.setdefault(_FIGURES, [])
    return Figures(request.node.name, lines)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = terminalreporter.config.stash.get(_FIGURES, [])
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)
