"""Arguments as MLflow's own functions take them work; others are refused with a clear message."""

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric as MlflowMetric
from mlflow.entities import Param, RunTag, ViewType
from sklearn.linear_model import LogisticRegression

from hokusai_core import (
    BackendNotInstalledError,
    ExperimentManager,
    InvalidInputError,
    ModelRegistry,
    NotFoundError,
    RunHandle,
    Settings,
)
from hokusai_core.testing import MockBackend


@pytest.fixture
def manager(tmp_path: Path) -> ExperimentManager:
    registry = ModelRegistry(
        backend=MockBackend(), settings=Settings.load(data_dir=tmp_path / "data")
    )
    return ExperimentManager(registry, experiment_name="arguments")


@pytest.fixture
def run(manager: ExperimentManager) -> RunHandle:
    return manager.start_run(run_name="one")


def test_a_batch_as_mlflows_client_takes_it(run: RunHandle) -> None:
    run.log_batch(
        metrics=[MlflowMetric("loss", 0.5, 1000, 3)],
        params=[Param("lr", "0.1"), Param("lr", "0.1")],
        tags=[RunTag("team", "a"), RunTag("team", "b")],
    )
    found = run.get()
    assert (found.data.metrics, found.data.params) == ({"loss": 0.5}, {"lr": "0.1"})
    assert found.data.tags["team"] == "b"
    (point,) = found.latest_metrics
    assert (point.timestamp, point.step) == (1000, 3)


def test_a_batch_of_nothing(run: RunHandle) -> None:
    before = run.get()
    run.log_batch(None, [], ())
    assert run.get() == before


WRONG_BATCHES: list[tuple[str, dict[str, Any], str]] = [
    ("numbers", {"metrics": [1]}, "one of them is of type int"),
    ("one number", {"metrics": 1}, "It is of type int"),
    ("dict of metrics", {"metrics": {"loss": 1.0}}, "log_metrics"),
    ("text", {"metrics": "loss"}, "It is of type str"),
    ("params of numbers", {"params": [1]}, "objects with key and value"),
    ("params as a number", {"params": 5}, "It is of type int"),
    ("tags as a text", {"tags": "ab"}, "It is of type str"),
    ("one param twice", {"params": [Param("a", "1"), Param("a", "2")]}, "given twice"),
]


@pytest.mark.parametrize(
    ("batch", "message"), [case[1:] for case in WRONG_BATCHES], ids=[c[0] for c in WRONG_BATCHES]
)
def test_a_batch_of_something_else(run: RunHandle, batch: dict[str, Any], message: str) -> None:
    before = run.get()
    with pytest.raises(InvalidInputError, match=message):
        run.log_batch(**batch)
    assert run.get() == before


@pytest.mark.parametrize("view_type", ["ACTIVE_ONLY", "ALL", ViewType.ACTIVE_ONLY, ViewType.ALL])
def test_view_types_that_hold_active_runs(
    manager: ExperimentManager, run: RunHandle, view_type: Any
) -> None:
    (found,) = manager.search_runs(run_view_type=view_type)
    assert found.info.run_id == run.run_id


@pytest.mark.parametrize("view_type", ["DELETED_ONLY", ViewType.DELETED_ONLY])
@pytest.mark.usefixtures("run")
def test_view_types_that_hold_none(manager: ExperimentManager, view_type: Any) -> None:
    assert manager.search_runs(run_view_type=view_type) == []


@pytest.mark.parametrize("order_by", [None, "start_time DESC", ["start_time DESC"], ()])
def test_orders(manager: ExperimentManager, run: RunHandle, order_by: Any) -> None:
    (found,) = manager.search_runs(order_by=order_by)
    assert found.info.run_id == run.run_id


SEARCHES: list[tuple[dict[str, Any], str]] = [
    ({"run_view_type": "x"}, "ACTIVE_ONLY, DELETED_ONLY or ALL"),
    ({"run_view_type": 4}, "not 4"),
    ({"run_view_type": True}, "not True"),
    ({"run_view_type": None}, "not None"),
    ({"run_view_type": []}, "not"),
    ({"order_by": 5}, "list of strings"),
    ({"order_by": [5]}, "must be a string"),
    ({"order_by": {"a": 1}}, "list of strings"),
]


@pytest.mark.parametrize(("arguments", "message"), SEARCHES, ids=repr)
def test_wrong_searches(
    manager: ExperimentManager, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        manager.search_runs(**arguments)


@pytest.mark.parametrize("timeout", [None, "x", "5", True, math.nan, []], ids=repr)
def test_no_time_to_wait(manager: ExperimentManager, run: RunHandle, timeout: Any) -> None:
    assert isinstance(manager.registry, ModelRegistry)
    entry = manager.registry.register_baseline("s3://bucket/model", "clf")
    for each in run, entry:
        with pytest.raises(InvalidInputError, match="number of seconds"):
            each.wait(timeout)
        each.wait(math.inf)


Download = Callable[[ExperimentManager, RunHandle, Any], Path]

DOWNLOADS: list[Download] = [
    lambda _, run, to: run.download_artifacts("", to),
    lambda manager, run, to: manager.download_artifacts(run.run_id, "", to),
]


@pytest.mark.parametrize("download", DOWNLOADS)
def test_a_file_where_a_folder_is_wanted(
    manager: ExperimentManager, run: RunHandle, tmp_path: Path, download: Download
) -> None:
    run.log_text("a", "a.txt")
    file = tmp_path / "file"
    file.write_text("mine")
    for target in file, str(file), file / "below", 5, "":
        with pytest.raises(InvalidInputError):
            download(manager, run, target)
    assert file.read_text() == "mine"
    assert (download(manager, run, tmp_path / "new") / "a.txt").read_text() == "a"


def test_a_flavor_that_there_is_not(manager: ExperimentManager, run: RunHandle) -> None:
    for flavor in "nope", "models", 5:
        with pytest.raises(InvalidInputError, match=r"no flavor .*pytorch, .*sklearn"):
            run.log_model(LogisticRegression(), "model", flavor=flavor)  # type: ignore[arg-type]
    assert isinstance(manager.registry, ModelRegistry)
    with pytest.raises(InvalidInputError, match="no flavor 'nope'"):
        manager.registry.register_baseline(LogisticRegression(), "clf", flavor="nope")


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
@pytest.mark.parametrize("pip_requirements", [None, ["torch"]])
def test_a_flavor_whose_library_is_not_installed(
    manager: ExperimentManager, pip_requirements: list[str] | None
) -> None:
    assert isinstance(manager.registry, ModelRegistry)
    with pytest.raises(BackendNotInstalledError, match="library of the model"):
        manager.registry.register_baseline(
            LogisticRegression(), "clf", flavor="pytorch", pip_requirements=pip_requirements
        )


def test_files_that_others_stored_are_named_as_they_are(
    manager: ExperimentManager, tmp_path: Path
) -> None:
    """A store that is not behind MLflow's server may hold names that are refused for new files."""
    run = manager.start_run()
    for path in ("a#b.txt", "100%20.txt"):
        assert run.list_artifacts(path) == ()
        assert manager.list_artifacts(run.run_id, path) == ()
        with pytest.raises(NotFoundError):
            run.download_artifacts(path, dst=tmp_path)
        with pytest.raises(InvalidInputError, match="must not hold"):
            run.log_text("text", path)
