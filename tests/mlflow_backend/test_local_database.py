"""A SQLite database as MLflow's own, without any server."""

import io
import logging
import shutil
import sqlite3
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hokusai_core.backends import OpenBackend
from hokusai_core.errors import ConflictError, ModelNotFoundError, NotFoundError, UnavailableError
from hokusai_core.operations import (
    ArtifactOwner,
    CreateExperiment,
    CreateLoggedModel,
    CreateModelVersion,
    CreateRegisteredModel,
    CreateRun,
    FinalizeLoggedModel,
    LogArtifact,
    LogBatch,
    MetricPoint,
    UpdateRun,
)
from hokusai_core.queries import VersionQuery
from tests.mlflow_backend.conftest import make_experiment, make_run, opened, soon, unique


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once: it takes seconds."""
    file = tmp_path_factory.mktemp("database") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def local(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenBackend:
    shutil.copy(empty_database, tmp_path / "tracking.db")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return opened(f"sqlite:///{tmp_path / 'tracking.db'}")


def test_a_run_with_everything(local: OpenBackend, tmp_path: Path) -> None:
    assert local.tracking.tracking_check(soon()).version
    name = unique("experiment")
    experiment_id = local.write(CreateExperiment(name=name), soon()).primary_id
    assert not local.write(CreateExperiment(name=name), soon()).created
    creation = CreateRun(experiment_id=experiment_id, run_name="r", start_time=5)
    run_id = local.write(creation, soon()).primary_id
    points = (MetricPoint(key="loss", value=0.5, timestamp=1, step=1),)
    local.write(LogBatch(run_id=run_id, metrics=points, params={"lr": "1"}), soon())
    with pytest.raises(ConflictError):
        local.write(LogBatch(run_id=run_id, params={"lr": "2"}), soon())
    local.write(UpdateRun(run_id=run_id, status="FINISHED", end_time=9), soon())
    (run,) = local.tracking.tracking_find_runs(creation, soon())
    assert (run.info.status, run.info.end_time, run.data.params) == ("FINISHED", 9, {"lr": "1"})
    assert local.tracking.tracking_get_metric_history(run_id, "loss", soon()) == points
    with pytest.raises(NotFoundError):
        local.tracking.tracking_get_run("0" * 32, soon())


def test_artifacts_are_files(local: OpenBackend, tmp_path: Path) -> None:
    run_id = make_run(local, make_experiment(local))
    owner = ArtifactOwner(kind="run", id=run_id)
    operation = LogArtifact(run_id=run_id, owner=owner, path="a/f", size=5, sha256="0" * 64)
    local.write(operation, soon(), lambda: io.BytesIO(b"hello"))
    (entry,) = local.tracking.tracking_list_artifacts(owner, "a", soon())
    assert (entry.path, entry.file_size) == ("a/f", 5)
    target = tmp_path / "got"
    local.tracking.tracking_download_artifact(owner, "a/f", target, soon())
    assert target.read_bytes() == b"hello"
    assert local.tracking.tracking_list_artifacts(owner, "none", soon()) == ()
    with pytest.raises(NotFoundError):
        local.tracking.tracking_download_artifact(owner, "none", target, soon())


def test_a_logged_model_is_registered_without_the_process_default(
    local: OpenBackend, tmp_path: Path
) -> None:
    experiment_id = make_experiment(local)
    run_id = make_run(local, experiment_id)
    creation = CreateLoggedModel(run_id=run_id, experiment_id=experiment_id, name="model")
    model_id = local.write(creation, soon()).primary_id
    owner = ArtifactOwner(kind="model", id=model_id)
    file = LogArtifact(run_id=run_id, owner=owner, path="MLmodel", size=1, sha256="0" * 64)
    local.write(file, soon(), lambda: io.BytesIO(b"x"))
    local.write(FinalizeLoggedModel(run_id=run_id, model_id=model_id), soon())
    local.write(CreateRegisteredModel(name="m"), soon())
    version = CreateModelVersion(
        name="m", source=f"models:/{model_id}", run_id=run_id, model_id=model_id, tags={"a": "b"}
    )
    number = local.write(version, soon()).primary_id
    query = VersionQuery(name="m", tags={"a": "b"})
    (found,) = local.registry.registry_search_versions(query, soon()).items
    assert (found.version, found.run_id) == (number, run_id)
    folder = local.registry.registry_download_model("m", number, tmp_path / "m", soon())
    assert [file.name for file in folder.iterdir()] == ["MLmodel"]
    assert not (tmp_path / "work" / "mlflow.db").exists()
    with pytest.raises(ModelNotFoundError):
        local.registry.registry_get_registered_model("none", soon())


def test_a_database_that_breaks_is_transient(
    local: OpenBackend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    experiment_id = make_experiment(local)
    (tmp_path / "tracking.db").write_bytes(b"no database any more" * 1000)
    (tmp_path / "tracking.db-wal").unlink(missing_ok=True)
    operation = CreateRun(experiment_id=experiment_id, run_name="r", start_time=1)
    with pytest.raises(UnavailableError) as caught:
        local.write(operation, soon())
    assert not caught.value.maybe_applied


def test_a_missing_driver_is_named_and_transient() -> None:
    backend = opened("mysql+nosuchdriver://ada:s3cret@db.invalid/mlflow")
    with pytest.raises(UnavailableError) as caught:
        backend.tracking.tracking_check(soon())
    assert "s3cret" not in str(caught.value)
    backend = opened("mysql+pymysql://ada:s3cret@db.invalid/mlflow")
    with pytest.raises(UnavailableError, match=r"pymysql|OperationalError"):
        backend.tracking.tracking_check(soon())


def test_a_locked_database_is_given_up_in_time(local: OpenBackend, tmp_path: Path) -> None:
    experiment_id = make_experiment(local)
    hurried = opened(f"sqlite:///{tmp_path / 'tracking.db'}", request_timeout=0.3)
    hurried.tracking.tracking_get_experiment(experiment_id, soon())
    blocker = sqlite3.connect(tmp_path / "tracking.db", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    operation = CreateRun(experiment_id=experiment_id, run_name="r", start_time=1)
    try:
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            hurried.write(operation, soon())
        assert time.monotonic() - began < 10
    finally:
        blocker.close()
    assert hurried.write(operation, soon()).created


def test_a_look_makes_no_file(tmp_path: Path) -> None:
    backend = opened(f"sqlite:///{tmp_path}/new/tracking.db")
    health = backend.tracking.tracking_check(soon())
    assert "a file that the first write makes" in health.description
    assert list(tmp_path.iterdir()) == []
    make_experiment(backend)
    assert "first write" not in backend.tracking.tracking_check(soon()).description


def test_a_file_that_no_write_can_make_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    backend = opened(f"sqlite:///{tmp_path}/file/tracking.db")
    with pytest.raises(UnavailableError):
        backend.tracking.tracking_check(soon())


def test_a_database_that_cannot_be_opened_is_transient(tmp_path: Path) -> None:
    backend = opened(f"sqlite:///{tmp_path}")
    with pytest.raises(UnavailableError):
        backend.tracking.tracking_check(soon())
