"""``hokusai db upgrade``: says what the tables are now, and never who connects."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import Result

from hokusai_backend_sql.engine import Database
from hokusai_core import Settings
from tests.sql.older_schema import make_first_schema
from tests.support.waiting import wait_for

Run = Callable[..., Result]


def test_an_empty_database_gets_its_tables(
    run_command: Run, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOKUSAI_DATABASE_URL", empty_database_url)
    first = run_command("db", "upgrade")
    assert first.exit_code == 0
    assert "is at revision" in first.stdout
    assert run_command("db", "upgrade").stdout == first.stdout


def test_no_password_is_printed(run_command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOKUSAI_DATABASE_URL", "postgresql+psycopg://anna:hidden@127.0.0.1:1/h")
    result = run_command("db", "upgrade")
    assert result.exit_code == 2
    assert "hidden" not in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(("fallback", "words"), [("none", "no journal"), ("mlflow", "no journal")])
def test_what_has_no_journal_cannot_be_upgraded(
    run_command: Run, monkeypatch: pytest.MonkeyPatch, fallback: str, words: str
) -> None:
    monkeypatch.setenv("HOKUSAI_FALLBACK", fallback)
    result = run_command("db", "upgrade")
    assert result.exit_code == 2
    assert words in result.stderr


def test_tables_of_a_newer_release_are_no_success(run_command: Run, tmp_path: Path) -> None:
    assert run_command("db", "upgrade").exit_code == 0
    with closing(sqlite3.connect(tmp_path / "journal" / "hokusai.db")) as file:
        file.execute("UPDATE hokusai_alembic_version SET version_num = '9999'")
        file.commit()
    result = run_command("db", "upgrade")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "has the tables of a newer release (revision 9999" in result.stderr


def test_a_file_that_is_no_database_is_one_line(run_command: Run, tmp_path: Path) -> None:
    file = tmp_path / "journal" / "hokusai.db"
    file.parent.mkdir()
    file.write_bytes(b"this is no database " * 500)
    result = run_command("db", "upgrade")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"hokusai: The journal in {file} failed: ")
    assert result.stderr.count("\n") == 1


def test_a_primary_without_a_journal_has_its_own_tables_upgraded(
    run_command: Run, empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What `hokusai status` asks for there."""
    older = Database(empty_postgres_url, Settings.load(data_dir=tmp_path))
    make_first_schema(older)
    older.close()
    monkeypatch.setenv("HOKUSAI_DATABASE_URL", empty_postgres_url)
    monkeypatch.setenv("HOKUSAI_BACKEND", "sql")
    monkeypatch.setenv("HOKUSAI_FALLBACK", "none")
    assert "Run: hokusai db upgrade" in run_command("status").stdout
    result = run_command("db", "upgrade")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "is at revision" in result.stdout
    # The circuit of this process opened at the first look.
    assert wait_for(lambda: run_command("status").exit_code == 0, 30)
