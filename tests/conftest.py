"""Fixtures shared by all tests; each module named here holds those of one component."""

import os
import signal
import sys

import pytest

from tests.support.session import Session

# The tests start hundreds of processes; where no bytecode is kept, each compiles all modules anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Threads of numerical libraries spin while they wait, and take the processors from other processes.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# A shell starts what runs in its background with Ctrl-C ignored, and children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.support.mlflow_fixtures", "tests.support.sql_fixtures"]

_LONG = ("tests/sync/", "tests/docs/", "tests/demo/", "tests/acceptance/")
"""What has the longest tests begins first, so that no process ends long after the others."""


_SESSION = pytest.StashKey[Session]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the process that all processes of pytest share."""
    if not hasattr(config, "workerinput"):
        config.stash[_SESSION] = Session()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End it, and the servers that it keeps."""
    if session := config.stash.get(_SESSION, None):
        session.close()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes more than processors: many tests wait for servers, kills and time-outs."""
    del config
    return (os.cpu_count() or 1) + 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let long tests begin first."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG))
