"""Plugins of other distributions, built and installed: good ones work, broken ones are told."""

import json
from typing import Any

import pytest

from tests.packaging.conftest import Run

TRAIN = """
import hokusai_core
from hokusai_core import ExperimentManager

assert "/packaging/environment/" in hokusai_core.__file__
manager = ExperimentManager("training")
with manager.start_run(run_name="first") as run:
    run.log_params({{"lr": 0.1}})
    for step in range(3):
        run.log_metric("loss", 1 / (step + 1), step=step)
    {more}
stored = manager.get_run(run.run_id)
print(stored.info.status, stored.data.metrics, stored.source, run.sync_state)
"""


def test_the_example_is_chosen_by_a_variable_and_keeps_files(run: Run, tmp_path: Any) -> None:
    program = TRAIN.format(more='run.log_text("hello", "notes/a.txt")')
    folder = str(tmp_path / "records")
    result = run("python", "-c", program, HOKUSAI_BACKEND="files", FILES_BACKEND_FOLDER=folder)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "FINISHED {'loss': 0.3333333333333333} primary delivered"
    (lines,) = (tmp_path / "records").glob("runs/*/run.jsonl")
    kinds = [json.loads(line)["kind"] for line in lines.read_text().splitlines()]
    assert kinds[0] == "create_run"
    assert kinds[-1] == "update_run"
    assert (lines.parent / "artifacts" / "notes" / "a.txt").read_text() == "hello"


def test_all_are_listed_with_what_is_wrong(run: Run) -> None:
    result = run("hokusai", "backends", "--check", "--json")
    assert result.returncode == 0, result.stderr
    found = {backend["name"]: backend for backend in json.loads(result.stdout)}
    assert {"mlflow", "mock", "postgresql", "sql"} <= found.keys()
    for name in ("good", "files"):
        assert found[name]["state"] == "ready"
    assert found["files"]["distribution"] == "hokusai-backend-files"
    assert found["files"]["version"] == "0.1.0"
    assert found["files"]["capabilities"] == ["artifacts", "registry", "tracking"]
    assert "a_driver_that_nobody_has" in found["broken_import"]["state"]
    assert "'tracking_log_bach', which is no hook" in found["misspelt_hook"]["state"]
    for name in ("broken_import", "misspelt_hook"):
        distribution = f"hokusai-backend-{name.replace('_', '-')}"
        assert (found[name]["distribution"], found[name]["version"]) == (distribution, "3.1")
        assert found[name]["state"].startswith(
            f"broken: Backend {name!r} of distribution {distribution} 3.1 "
        )


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("broken_import", "No module named 'a_driver_that_nobody_has'"),
        ("misspelt_hook", "'tracking_log_bach', which is no hook (is it 'tracking_log_batch'?)"),
    ],
)
def test_a_broken_one_that_is_chosen_is_named(run: Run, name: str, cause: str) -> None:
    program = TRAIN.format(more="pass")
    result = run("python", "-c", program, HOKUSAI_BACKEND=name, HOKUSAI_FALLBACK="none")
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert "BackendBrokenError" in last
    assert f"{name.replace('_', '-')} 3.1" in last
    assert cause in last


def test_broken_ones_hurt_nobody_else(run: Run) -> None:
    program = TRAIN.format(more="pass")
    result = run("python", "-c", program, HOKUSAI_BACKEND="good", HOKUSAI_FALLBACK="none")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("FINISHED")
    assert result.stderr == ""
