"""``hokusai db upgrade``: says what the tables are now, and never who connects."""

from collections.abc import Callable

import pytest
from typer.testing import Result

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
