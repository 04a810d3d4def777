"""A driver that takes long to import takes nothing of the time that a call has."""

import dataclasses
import sys
from pathlib import Path

import pytest

from hokusai_core import BackendBrokenError, ExperimentManager, Settings
from hokusai_core.clock import Deadline
from hokusai_core.entities import Receipt
from hokusai_core.markers import hookimpl
from hokusai_core.operations import CreateExperiment
from hokusai_core.testing import MockBackend

IMPORT_SECONDS = 1.5
BUDGET = 6.0


class Observed(MockBackend):
    """A mock that needs a driver, and notes how much time its first write has left."""

    def __init__(self, driver: str) -> None:
        super().__init__()
        self.left: list[float] = []
        self.plugin = dataclasses.replace(self.plugin, requires=(driver,))

    @hookimpl
    def tracking_create_experiment(
        self, operation: CreateExperiment, deadline: Deadline
    ) -> Receipt:
        self.left.append(deadline.remaining())
        return super().tracking_create_experiment(operation, deadline)


@pytest.fixture
def settings() -> Settings:
    return Settings.load(write_timeout=BUDGET, lease_seconds=60)


def test_the_first_write_has_all_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    (tmp_path / "slow_driver_of_a_test.py").write_text(
        f"import time\ntime.sleep({IMPORT_SECONDS})\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    mock = Observed("slow_driver_of_a_test")
    manager = ExperimentManager("slow", backend=mock, settings=settings)
    assert "slow_driver_of_a_test" not in sys.modules  # not when it is made
    manager.start_run().end()
    assert mock.left[0] > BUDGET - IMPORT_SECONDS / 2


def test_a_driver_that_fails_to_import_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    (tmp_path / "broken_driver_of_a_test.py").write_text("import nothing_of_the_kind\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    mock = Observed("broken_driver_of_a_test")
    manager = ExperimentManager("broken", backend=mock, settings=settings)
    with pytest.raises(BackendBrokenError, match=r"broken_driver_of_a_test.*nothing_of_the_kind"):
        manager.start_run()
