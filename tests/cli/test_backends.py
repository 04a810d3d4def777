"""``hokusai backends``: what is installed, and what is wrong with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from hokusai_core.markers import ENTRY_POINT_GROUP

Run = Callable[..., Result]
RunJson = Callable[..., tuple[int, Any]]


@pytest.fixture
def broken_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution whose backend fails to import."""
    folder = tmp_path / "site"
    metadata = folder / "somebodys_backend-3.1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: somebodys-backend\nVersion: 3.1\n"
    )
    (metadata / "entry_points.txt").write_text(
        f"[{ENTRY_POINT_GROUP}]\nsomebodys = somebodys_backend:plugin\n"
    )
    (folder / "somebodys_backend.py").write_text("raise RuntimeError('no luck today')\n")
    monkeypatch.syspath_prepend(str(folder))


def test_the_own_backends_are_ready(run_json: RunJson) -> None:
    code, found = run_json("backends")
    assert code == 0
    by_name = {backend["name"]: backend for backend in found}
    assert {"mlflow", "mock", "postgresql", "sql"} <= set(by_name)
    assert by_name["sql"]["distribution"] == "hokusai-tracking"
    assert "journal" in by_name["sql"]["capabilities"]
    assert by_name["sql"]["state"] == "ready"


@pytest.mark.usefixtures("broken_plugin")
def test_a_broken_one_is_listed_with_its_cause(run_command: Run, run_json: RunJson) -> None:
    code, found = run_json("backends")
    assert code == 0
    (broken,) = (backend for backend in found if backend["name"] == "somebodys")
    assert (broken["distribution"], broken["version"]) == ("somebodys-backend", "3.1")
    assert broken["state"].startswith("broken: ")
    assert "no luck today" in broken["state"]
    assert "somebodys" in run_command("backends").stdout


@pytest.mark.usefixtures("broken_plugin")
def test_a_broken_one_harms_no_health(run_command: Run) -> None:
    result = run_command("status", "--backend", "sql")
    assert result.exit_code == 0
    assert "somebodys: broken" in result.stdout


@pytest.mark.usefixtures("broken_plugin")
def test_a_broken_one_that_is_chosen_is_one_line(run_command: Run) -> None:
    result = run_command("status", "--backend", "somebodys")
    assert result.exit_code == 2
    assert "somebodys-backend 3.1" in result.stderr
    assert result.stdout == ""
