"""Prometheus metrics: what a scrape tells is what is so."""

import os
import re
import signal
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from hokusai_core import ConfigurationError, ConflictError, ExperimentManager, Settings
from hokusai_core.metrics import SyncMetrics
from hokusai_core.testing import MockBackend
from tests.support import session

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def mock() -> MockBackend:
    return MockBackend()


@pytest.fixture
def manager(mock: MockBackend, tmp_path: Path) -> Iterator[ExperimentManager]:
    settings = Settings.load(
        data_dir=tmp_path,
        fallback="sql",
        auto_sync=False,
        late_effect_seconds=0.0,
        circuit_open_seconds=0.01,
        circuit_open_max_seconds=0.02,
        attempts=1,
    )
    made = ExperimentManager("measured", backend=mock, settings=settings)
    yield made
    made.runtime.close_connections()


def scrape(port: int) -> Samples:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset((k, v) for k, v in sample.labels.items() if k != "destination")): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def figure(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_a_scrape_tells_backlog_deliveries_refusals_circuit_and_calls(
    mock: MockBackend, manager: ExperimentManager
) -> None:
    runtime = manager.runtime
    run = manager.start_run()
    metrics = SyncMetrics(runtime)
    port = metrics.serve("127.0.0.1", 0)
    mock.down()
    for step in range(3):
        run.log_metric("loss", 0.5, step=step)
    found = scrape(port)
    assert figure(found, "hokusai_backlog_operations", place="journal") == 3
    assert figure(found, "hokusai_backlog_oldest_seconds", place="journal") >= 0
    assert figure(found, "hokusai_journal_up", place="journal") == 1
    states = {
        state: figure(found, "hokusai_circuit_state", circuit="primary", state=state)
        for state in ("closed", "open", "half_open")
    }
    assert states["closed"] == 0
    assert sum(states.values()) == 1
    # The write that fell back is a failed attempt of this process, too.
    assert figure(found, "hokusai_failed_attempts_total") == 1
    assert (
        figure(found, "hokusai_call_duration_seconds_count", kind="log_batch", outcome="failed")
        == 1
    )
    mock.up()
    metrics.count(runtime.drain().run(wait_seconds=20, stop=threading.Event()))
    mock.down()
    run.log_metric("loss", 0.25)
    mock.reject("log_batch", ConflictError("no"))
    mock.up()
    metrics.count(runtime.drain().run(wait_seconds=20, stop=threading.Event()))
    found = scrape(port)
    assert figure(found, "hokusai_delivered_operations_total") == 3
    assert figure(found, "hokusai_refused_operations_total") == 1
    assert figure(found, "hokusai_dead_letters", place="journal") == 1
    assert figure(found, "hokusai_backlog_operations", place="journal") == 0
    assert figure(found, "hokusai_backlog_oldest_seconds", place="journal") == 0
    assert figure(found, "hokusai_circuit_state", circuit="primary", state="closed") == 1
    labels = {"kind": "log_batch", "outcome": "refused"}
    assert figure(found, "hokusai_call_duration_seconds_count", **labels) == 1


def test_a_journal_that_is_away_is_told_and_nothing_is_made_up(tmp_path: Path) -> None:
    settings = Settings.load(
        data_dir=tmp_path,
        fallback="sql",
        auto_sync=False,
        database_url="postgresql+psycopg://anna@127.0.0.1:1/hokusai",
    )
    manager = ExperimentManager("away", backend=MockBackend(), settings=settings)
    found = scrape(SyncMetrics(manager.runtime).serve("127.0.0.1", 0))
    assert figure(found, "hokusai_journal_up", place="journal") == 0
    assert figure(found, "hokusai_journal_up", place="spool") == 1
    assert ("hokusai_backlog_operations", frozenset({("place", "journal")})) not in found
    manager.runtime.close_connections()


def test_nothing_is_added_to_the_global_registry(manager: ExperimentManager) -> None:
    before = {metric.name for metric in REGISTRY.collect()}
    SyncMetrics(manager.runtime)
    SyncMetrics(manager.runtime)  # twice in one process is no conflict
    assert {metric.name for metric in REGISTRY.collect()} == before


def test_a_port_that_is_taken_is_an_error(manager: ExperimentManager) -> None:
    metrics = SyncMetrics(manager.runtime)
    port = metrics.serve("127.0.0.1", 0)
    with pytest.raises(ConfigurationError, match=f"{port}.*--metrics-port"):
        metrics.serve("127.0.0.1", port)


@pytest.mark.parametrize("host", ["a" * 64, "bad..name", "no-such-host.invalid", "192.0.2.1"])
def test_a_host_that_cannot_be_listened_on_is_an_error(
    manager: ExperimentManager, host: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"{host}:0: .+HOKUSAI_METRICS_HOST"):
        SyncMetrics(manager.runtime).serve(host, 0)


def test_the_command_serves_them_on_loopback(tmp_path: Path) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("HOKUSAI_")
    }
    with session.Program(
        *("-m", "hokusai_core", "sync", "--watch", "--metrics-port", "0"),
        environment=environment
        | {"HOKUSAI_DATA_DIR": str(tmp_path), "HOKUSAI_BACKEND": "sql", "MLFLOW_TRACKING_URI": ""},
    ) as process:
        said = process.stderr.readline()
        address = re.fullmatch(r"Metrics at http://127\.0\.0\.1:(\d+)/metrics\n", said)
        assert address, said
        found = scrape(int(address[1]))
        assert figure(found, "hokusai_backlog_operations", place="journal") == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
