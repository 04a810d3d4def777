"""Logging: one line when an outage begins, one when it is over, and none for each call."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from hokusai_core import ConflictError, ExperimentManager, Settings
from hokusai_core.process_hooks import end_of_process
from hokusai_core.testing import MockBackend
from tests.support import session
from tests.support.waiting import wait_for

CALLS = 100
FAST = {"circuit_open_seconds": 0.05, "circuit_open_max_seconds": 0.1, "late_effect_seconds": 0.0}


@pytest.fixture
def mock() -> MockBackend:
    return MockBackend()


@pytest.fixture
def manager(mock: MockBackend, tmp_path: Path) -> Iterator[ExperimentManager]:
    settings = Settings.load(data_dir=tmp_path, fallback="sql", **FAST)
    made = ExperimentManager("told once", backend=mock, settings=settings)
    yield made
    made.runtime.drainer.stop(5.0)
    made.runtime.close_connections()


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [
        (record.levelno, record.getMessage())
        for record in caplog.records
        if record.name.startswith("hokusai") and record.levelno >= logging.INFO
    ]


def test_an_outage_is_two_lines_however_many_calls(
    mock: MockBackend, manager: ExperimentManager, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    run = manager.start_run()
    for _ in range(2):  # a second outage is told again
        caplog.clear()
        mock.down()
        for step in range(CALLS):
            run.log_metric("loss", 0.5, step=step)
        ((level, began),) = lines(caplog)
        assert level == logging.WARNING
        for told in ("Backend mock at", "does not take writes", "Nothing is lost", str(tmp_path)):
            assert told in began
        mock.up()
        assert wait_for(lambda: len(lines(caplog)) > 1, 20.0)
        _, (level, over) = lines(caplog)
        assert level == logging.INFO
        for told in ("takes writes again after", f": {CALLS}, all delivered.", str(tmp_path)):
            assert told in over
    run.end()


def test_what_was_refused_meanwhile_is_not_called_delivered(
    mock: MockBackend, manager: ExperimentManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = manager.start_run()
    mock.down()
    run.log_metric("loss", 0.5)
    run.set_tag("k", "v")
    mock.reject("log_batch", ConflictError("not this one"))
    mock.up()
    assert wait_for(lambda: "takes writes again" in lines(caplog)[-1][1], 20.0)
    assert "apart from 2 refused for good" in lines(caplog)[-1][1]
    mock.accept("log_batch")
    run.end()


def test_without_a_drainer_nothing_is_called_delivered(
    mock: MockBackend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = Settings.load(data_dir=tmp_path, fallback="sql", auto_sync=False, **FAST)
    manager = ExperimentManager("by hand", backend=mock, settings=settings)
    with manager.start_run() as first:
        pass
    second = manager.start_run()
    mock.down()
    first.log_metric("loss", 0.5)
    mock.up()
    circuit = manager.runtime.circuits.primary
    assert wait_for(lambda: circuit.seconds_until_probe() == 0, 5.0)
    second.log_metric("loss", 0.5)
    assert second.sync_state == "delivered"
    assert "1, they wait until `hokusai sync` delivers them." in lines(caplog)[-1][1]
    caplog.clear()
    end_of_process([manager.runtime])
    ((level, left),) = lines(caplog)
    assert level == logging.WARNING
    assert "1 operation for mock:" in left
    assert "hokusai sync" in left


def test_two_runtimes_of_one_journal_end_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    managers = []
    settings = Settings.load(
        data_dir=tmp_path, fallback="sql", auto_sync=False, destination="named", **FAST
    )
    for _ in range(2):
        mock = MockBackend()
        managers.append(ExperimentManager("two", backend=mock, settings=settings))
        mock.down()
        managers[-1].start_run()
    caplog.clear()
    end_of_process([manager.runtime for manager in managers])
    ((_, left),) = lines(caplog)
    assert left.count("2 operations for mock:") == 2
    assert str(tmp_path) in left  # not HOKUSAI_DESTINATION, which names the primary
    assert left.count("hokusai sync") == 1
    caplog.clear()
    end_of_process([manager.runtime for manager in managers])  # they are closed by now
    assert lines(caplog) == []


LEAVES = """
import sys
from hokusai_core import ExperimentManager, Settings
from hokusai_core.testing import MockBackend

managers = []
for _ in range(2):
    mock = MockBackend()
    mock.down()
    settings = Settings.load(data_dir=sys.argv[1], fallback="sql", auto_sync=False)
    manager = ExperimentManager("x", backend=mock, settings=settings)
    managers.append(manager)
    manager.start_run().end()
    if sys.argv[2] == "closed":
        manager.runtime.close_connections()
"""


@pytest.mark.parametrize(("how", "count"), [("open", 1), ("closed", 0)])
def test_the_end_of_a_process_is_one_line_and_silent_where_closed(
    tmp_path: Path, how: str, count: int
) -> None:
    ended = session.run("-c", LEAVES, str(tmp_path), how, to_the_end=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("Not delivered yet") == count, ended.stderr
    assert "Traceback" not in ended.stderr
