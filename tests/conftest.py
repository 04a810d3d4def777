"""Fixtures shared by all tests; each module named here holds those of one component."""

import os
import sys

import pytest

# The tests start hundreds of processes; where no bytecode is kept, each compiles all modules anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

pytest_plugins = ["tests.support.mlflow_fixtures", "tests.support.sql_fixtures"]

_LONG = ("tests/sync/", "tests/docs/", "tests/demo/", "tests/acceptance/")
"""What has the longest tests begins first, so that no process ends long after the others."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process more than processors: many tests wait for servers, kills and time-outs."""
    del config
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let long tests begin first."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG))
