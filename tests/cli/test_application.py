"""The command as a whole: version, errors, names, and what it loads."""

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version

import pytest
from typer.testing import Result

Run = Callable[..., Result]
HEAVY = ("mlflow", "sqlalchemy", "pandas", "sklearn", "typer", "rich")


def test_the_version(run_command: Run) -> None:
    result = run_command("--version")
    assert result.exit_code == 0
    assert result.stdout == f"hokusai-tracking {version('hokusai-tracking')}\n"


def test_it_runs_as_a_module() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "hokusai_core", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith("hokusai-tracking ")


@pytest.mark.parametrize("command", ["sync", "status", "backends", "demo", "db"])
def test_each_command_explains_itself(run_command: Run, command: str) -> None:
    result = run_command(command, "--help")
    assert result.exit_code == 0
    assert f"hokusai {command}" in result.stdout or f"root {command}" in result.stdout


@pytest.mark.parametrize("command", ["sync", "status"])
def test_an_unknown_backend_is_one_line(run_command: Run, command: str) -> None:
    result = run_command(command, "--backend", "nowhere")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "'nowhere'" in result.stderr


def test_a_wrong_setting_is_named_without_its_value(
    run_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOKUSAI_CONNECT_TIMEOUT", "soon")
    result = run_command("status")
    assert result.exit_code == 2
    assert "HOKUSAI_CONNECT_TIMEOUT" in result.stderr
    assert "soon" not in result.stderr


def test_a_name_where_an_address_belongs(run_command: Run) -> None:
    result = run_command("sync", "--tracking-uri", "my_experiment")
    assert result.exit_code == 2
    assert "'my_experiment'" in result.stderr


def test_the_package_loads_nothing_heavy() -> None:
    source = f"import sys, hokusai_core; print([m for m in {HEAVY} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
