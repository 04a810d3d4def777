"""The longest times that can be set work, and what is beyond them is refused."""

import math
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from hokusai_backend_sql.engine import Database
from hokusai_core import ConfigurationError, ExperimentManager, Settings
from hokusai_core.settings import MOST_SECONDS
from hokusai_core.testing import MockBackend

MOST = float(MOST_SECONDS)
TIMES = sorted(name for name, field in Settings.model_fields.items() if field.annotation is float)
HALVES = {"write_timeout": MOST / 2, "artifact_idle_timeout": MOST / 2}
"""The lease is at least twice as long as these."""
COUNTS = {
    "circuit_failures": 10**30,
    "max_attempts": 10**30,
    "max_queued_artifact_bytes": 10**30,
    "sync_threads": 64,
    "attempts": 10,
}


def test_there_are_times() -> None:
    assert {"journal_timeout", "lease_seconds", "retention_seconds"} <= set(TIMES)


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e11"])
def test_a_time_is_a_number_that_can_be_waited_for(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(Settings.variable(name), value)
    with pytest.raises(ConfigurationError, match=f"{Settings.variable(name)}: "):
        Settings.load()


@pytest.mark.parametrize("name", sorted({*TIMES} - {"retention_seconds"}))
def test_a_time_has_a_longest_value(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{Settings.variable(name)}: .*1000000"):
        Settings.load(**{name: math.nextafter(MOST, math.inf)})
    value = HALVES.get(name, MOST)
    assert getattr(Settings.load(**{"lease_seconds": MOST, name: value}), name) == value


def test_the_longest_times_and_largest_counts_work_on_every_journal(
    database_url: str, tmp_path: Path
) -> None:
    values = {name: HALVES.get(name, MOST) for name in TIMES} | COUNTS
    # These would have to be waited for.
    waited = {"late_effect_seconds": 0.0, "circuit_failures": 1, "circuit_open_seconds": 0.01}
    limited = {"retention_seconds": 1e10, "circuit_open_max_seconds": 0.02}
    settings = Settings.load(
        **(values | waited | limited),
        database_url=database_url,
        data_dir=tmp_path,
        fallback="sql",
        auto_sync=False,
    )
    mock = MockBackend()
    manager = ExperimentManager("longest", backend=mock, settings=settings)
    run = manager.start_run()
    mock.down()
    run.log_metric("loss", 0.5)
    run.log_text("some", "some.txt")
    assert run.sync_state == "pending"
    mock.up()
    report = manager.runtime.drain().run(wait_seconds=20, stop=threading.Event())
    assert (report.left, report.dead) == (0, 0)
    run.end()
    manager.runtime.close_connections()


@pytest.mark.parametrize("name", ["late_effect_seconds", "circuit_open_seconds"])
def test_a_longest_time_that_has_to_be_waited_for_keeps_what_waits(
    name: str, database_url: str, tmp_path: Path
) -> None:
    mock = MockBackend()
    settings = Settings.load(
        **{"circuit_open_max_seconds": MOST, name: MOST},
        database_url=database_url,
        data_dir=tmp_path,
        fallback="sql",
        auto_sync=False,
    )
    manager = ExperimentManager("longest", backend=mock, settings=settings)
    mock.down()
    with manager.start_run() as run:
        run.log_metric("loss", 0.5)
    assert run.sync_state == "pending"
    assert manager.runtime.waiting()
    manager.runtime.close_connections()


def test_the_longest_wait_is_one_for_the_databases_too(database_url: str, tmp_path: Path) -> None:
    """A number of milliseconds that they cannot hold would be no wait at all."""
    database = Database(database_url, Settings.load(journal_timeout=MOST, data_dir=tmp_path))
    asked = "PRAGMA busy_timeout" if database.is_sqlite else "SHOW statement_timeout"
    with database.connect() as connection:
        found = connection.execute(text(asked)).scalar()
    assert found == (MOST_SECONDS * 1000 if database.is_sqlite else f"{MOST_SECONDS}s")
    database.close()
