"""``hokusai events``: what cannot be read is never said to be nothing."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from hokusai_core import ModelRegistry
from tests.support.mlflow_server import MlflowServer
from tests.support.stub_server import StubServer

Run = Callable[..., Result]
REGISTRATION: dict[str, Any] = {
    "token_id": "hlead",
    "metric_name": "accuracy",
    "baseline_value": 0.1,
}


def _damage(journal: Path) -> None:
    """Let the file be none of SQLite's."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    for name in (journal, *journal.parent.glob("hokusai.db-*")):
        name.unlink(missing_ok=True)
    journal.write_bytes(b"this is no database " * 500)


def _make_newer(journal: Path) -> None:
    with closing(sqlite3.connect(journal)) as file:
        file.execute("UPDATE hokusai_alembic_version SET version_num = '9999'")
        file.commit()


def _stop_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOKUSAI_DATABASE_URL", "postgresql+psycopg://a:hidden@127.0.0.1:1/hokusai")


@pytest.fixture(params=["damaged", "newer", "stopped", "none"])
def unreadable(
    request: pytest.FixtureRequest,
    run_command: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """A journal that cannot be read, or no journal; gives what the command has to say of it."""
    monkeypatch.setenv("HOKUSAI_BACKEND", "mock")
    monkeypatch.setenv("HOKUSAI_FALLBACK", "none" if request.param == "none" else "sql")
    journal = tmp_path / "journal" / "hokusai.db"
    if request.param == "damaged":
        _damage(journal)
        return str(journal)
    if request.param == "newer":
        assert run_command("events", "list").exit_code == 0
        _make_newer(journal)
        return "newer release"
    if request.param == "stopped":
        _stop_postgresql(monkeypatch)
        return "127.0.0.1:1"
    return "HOKUSAI_FALLBACK=none"


@pytest.mark.parametrize("command", [("list",), ("list", "--all"), ("list", "--json"), ("send",)])
def test_a_journal_that_cannot_be_read_is_not_said_to_hold_nothing(
    run_command: Run, unreadable: str, command: tuple[str, ...]
) -> None:
    result = run_command("events", *command)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("hokusai: ")
    assert result.stderr.count("\n") == 1
    assert unreadable in result.stderr
    assert "hidden" not in result.output


@pytest.mark.parametrize("away", ["damaged", "stopped"])
def test_a_version_whose_event_may_wait_is_not_sent_as_if_it_did_not(
    run_command: Run,
    mlflow_server: MlflowServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    away: str,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.url)
    registry = ModelRegistry()
    name = f"scoring {tmp_path.name}"
    registry.register_tokenized_model("s3://bucket/model", name, **REGISTRATION)
    registry.runtime.close_connections()
    with StubServer() as endpoint:
        monkeypatch.setenv("HOKUSAI_EVENTS_ENDPOINT", endpoint.url)
        if away == "damaged":
            _damage(tmp_path / "journal" / "hokusai.db")
        else:
            _stop_postgresql(monkeypatch)
        result = run_command("events", "send", f"{name}/1")
        assert endpoint.requests == []
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("hokusai: ")


def test_without_a_journal_one_event_can_still_be_sent(
    run_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry knows all that belongs into it."""
    monkeypatch.setenv("HOKUSAI_BACKEND", "sql")
    monkeypatch.setenv("HOKUSAI_FALLBACK", "none")
    ModelRegistry().register_tokenized_model("s3://bucket/model", "scoring", **REGISTRATION)
    with StubServer() as endpoint:
        monkeypatch.setenv("HOKUSAI_EVENTS_ENDPOINT", endpoint.url)
        assert run_command("events", "send", "scoring/1").exit_code == 0
        assert len(endpoint.requests) == 1
