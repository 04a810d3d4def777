"""``hokusai status``: one look tells what is wrong, and its exit code serves a health check."""

import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from hokusai_core import ExperimentManager, InvalidInputError, Settings, status
from hokusai_core.operations import LogBatch
from hokusai_core.status import STUCK_SECONDS, Status, StreamStatus
from hokusai_core.testing import MockBackend
from tests.cli.conftest import REFUSED_URL, Outage

Run = Callable[..., Result]
RunJson = Callable[..., tuple[int, Any]]


def test_a_database_as_primary_is_healthy(run_json: RunJson) -> None:
    code, figures = run_json("status", "--backend", "sql")
    assert code == 0
    assert figures["healthy"] is True
    assert figures["reachable"] is True
    assert figures["latency_ms"] > 0
    assert figures["version"]
    assert figures["circuit"] == "closed"
    assert figures["problems"] == []


def test_the_text_says_healthy(run_command: Run) -> None:
    result = run_command("status", "--backend", "sql")
    assert result.exit_code == 0
    assert "Healthy." in result.stdout
    assert re.search(r"^circuit +closed$", result.stdout, flags=re.MULTILINE)


def test_a_server_that_refuses_is_told_at_once(run_json: RunJson) -> None:
    began = time.monotonic()
    code, figures = run_json("status", "--tracking-uri", REFUSED_URL)
    assert time.monotonic() - began < 20  # most of it loads MLflow
    assert code == 1
    assert figures["reachable"] is False
    assert figures["latency_ms"] is None
    assert figures["journal_reachable"] is True
    assert "does not answer" in figures["problems"][0]


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_a_server_that_is_silent_is_said_to_give_no_answer(
    run_command: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("HOKUSAI_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        result = run_command(command, "--tracking-uri", uri)
    assert result.exit_code == 1
    assert re.search(r"no answer after [01]\.\d s", result.stdout)


def test_without_an_address_the_local_default_is_named_and_not_made(
    run_command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    told = "no tracking server is set (mlflow_tracking_uri)"
    for command in ("status", "doctor"):
        result = run_command(command)
        assert result.exit_code == 0
        assert told in result.stdout.lower()
    assert list(folder.iterdir()) == []
    for arguments in (("--tracking-uri", f"sqlite:///{folder}/a.db"), ("--backend", "mock")):
        assert told not in run_command("status", *arguments).stdout.lower()


def test_no_credentials_are_printed(run_command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOKUSAI_API_KEY", "key-secret")
    monkeypatch.setenv(
        "HOKUSAI_DATABASE_URL", "postgresql+psycopg://anna:journal-secret@127.0.0.1:1/hokusai"
    )
    arguments = ("status", "--tracking-uri", "http://bob:server-secret@127.0.0.1:1")
    for result in (run_command(*arguments), run_command(*arguments, "--json")):
        assert result.exit_code == 1
        assert "secret" not in result.output
        assert "anna" not in result.output


def test_a_journal_that_is_away_is_a_problem(
    run_json: RunJson, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOKUSAI_DATABASE_URL", "postgresql+psycopg://anna@127.0.0.1:1/hokusai")
    code, figures = run_json("status", "--tracking-uri", REFUSED_URL)
    assert code == 1
    assert figures["journal_reachable"] is False
    assert "127.0.0.1" in figures["journal_unreachable_because"]
    assert "journal is away" in figures["problems"][1]


def test_the_spool_is_counted_apart(run_json: RunJson, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOKUSAI_DATABASE_URL", "postgresql+psycopg://anna@127.0.0.1:1/hokusai")
    manager = ExperimentManager(
        "spooled", mlflow_tracking_uri=REFUSED_URL, settings=Settings.load(auto_sync=False)
    )
    manager.start_run(run_name="spooled").end()
    code, figures = run_json("status", "--tracking-uri", REFUSED_URL)
    assert code == 1
    assert (figures["waiting"], figures["dead"]) == (None, None)  # nothing is made up
    assert figures["spool_waiting"] >= 3
    assert {stream["place"] for stream in figures["streams"]} == {"spool"}
    manager.runtime.close_connections()


def test_what_waits_is_listed_by_stream(
    run_json: RunJson, run_command: Run, refused: ExperimentManager
) -> None:
    with refused.start_run(run_name="waits") as run:
        run.log_metric("loss", 0.5)
    code, figures = run_json("status", "--tracking-uri", REFUSED_URL)
    assert code == 1
    streams = {stream["stream"]: stream for stream in figures["streams"]}
    assert figures["waiting"] == sum(stream["waiting"] for stream in streams.values()) > 2
    assert streams[f"run/{run.run_id}"]["place"] == "journal"
    assert figures["oldest_seconds"] >= 0

    text = run_command("status", "--tracking-uri", REFUSED_URL).stdout
    assert "experiment/refused" in text
    assert "PROBLEM: mlflow at" in text


def test_the_backlog_of_other_destinations_is_named(
    run_json: RunJson, refused: ExperimentManager
) -> None:
    refused.start_run(run_name="elsewhere").end()
    _, figures = run_json("status", "--backend", "sql")
    assert figures["waiting"] == 0
    assert figures["others"][refused.runtime.destination] > 0


def test_a_dead_letter_is_a_problem_and_tells_why(
    run_json: RunJson, run_command: Run, outage: Outage
) -> None:
    bury_a_param(outage)
    code, figures = run_json("status", "--tracking-uri", outage.proxy.url)
    assert code == 1
    assert figures["reachable"] is True
    assert figures["dead"] == 1
    assert "1 dead letter: " in figures["problems"][0]
    assert "hokusai queue list" in figures["problems"][0]
    (letter,) = figures["dead_letters"]
    assert letter["kind"] == "log_batch"
    assert letter["stream"].startswith("run/")
    assert letter["error"]
    text = run_command("status", "--tracking-uri", outage.proxy.url).stdout
    for told in ("Dead letters", letter["op_id"], "log_batch", letter["stream"]):
        assert told in text


def test_the_function_uses_the_circuit_of_the_process(refused: ExperimentManager) -> None:
    refused.start_run(run_name="opens the circuit").end()
    found = status(refused.runtime.settings, tracking_uri=REFUSED_URL)
    assert found.circuit in ("open", "half_open")
    assert not found.healthy
    assert found.waiting > 0


def test_a_mock_that_is_down_is_not_healthy() -> None:
    mock = MockBackend()
    assert status(backend=mock).reachable
    mock.down()
    found = status(backend=mock)
    assert not found.reachable
    assert not found.healthy
    assert found.unreachable_because


@pytest.mark.parametrize(
    ("age", "overdue", "error", "stuck"),
    [
        (10.0, 0.0, "the server refuses", False),
        (STUCK_SECONDS + 1, -30.0, "", False),
        (STUCK_SECONDS + 1, -30.0, "the server refuses", True),
        (STUCK_SECONDS + 1, STUCK_SECONDS + 1, "", True),
    ],
)
def test_stuck_is_what_lasts(*, age: float, overdue: float, error: str, stuck: bool) -> None:
    stream = StreamStatus(
        stream="run/1",
        place="journal",
        waiting=1,
        oldest_seconds=age,
        due_in_seconds=-overdue,
        error=error,
    )
    found = Status(
        backend="mock", destination="mock:", reachable=True, circuit="closed", streams=(stream,)
    )
    assert stream.stuck is stuck
    assert found.healthy is not stuck


def bury_a_param(outage: Outage) -> None:
    """Let the server refuse a queued record for good: another value of a param."""
    outage.end()
    run = outage.manager.start_run(run_name="changes its mind")
    run.log_param("lr", 0.1)
    outage.begin()
    outage.runtime.router.write(LogBatch(run_id=run.run_id, params={"lr": "0.2"}))
    run.end()
    outage.end()
    report = outage.runtime.drain().run(wait_seconds=30, stop=threading.Event())
    assert report.dead == 1


@pytest.mark.parametrize(
    "arguments", [("status", "--timeout"), ("sync", "--wait"), ("events", "send", "--wait")]
)
@pytest.mark.parametrize("value", ["inf", "nan", "1000001"])
def test_a_time_that_cannot_be_waited_for_is_refused(
    run_command: Run, arguments: tuple[str, ...], value: str
) -> None:
    result = run_command(*arguments, value, "--backend", "mock")
    assert result.exit_code == 2
    assert arguments[-1] in result.stderr
    with pytest.raises(InvalidInputError, match="at most 1000000 seconds"):
        status(backend=MockBackend(), timeout=float(value))
    assert run_command(*arguments, "1000000", "--backend", "mock").exit_code == 0
