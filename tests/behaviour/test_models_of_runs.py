"""``runs:/run_id/name`` means the model that the run logged, also where the primary cannot say so."""

import hashlib
import io
from pathlib import Path

import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from hokusai_core import (
    ExperimentManager,
    ModelRegistry,
    ModelVersion,
    RejectedError,
    Settings,
    SyncQueue,
    TransientError,
)
from hokusai_core.errors import RateLimitedError
from hokusai_core.operations import (
    ArtifactOwner,
    CreateLoggedModel,
    FinalizeLoggedModel,
    LogArtifact,
)
from hokusai_core.testing import MockBackend
from tests.behaviour.stack import Stack
from tests.support.waiting import wait_for

X, Y = load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def model() -> LogisticRegression:
    return LogisticRegression(max_iter=500).fit(X, Y)


def delivered_versions(registry: ModelRegistry, name: str, count: int) -> list[ModelVersion]:
    assert wait_for(lambda: registry.runtime.waiting() == 0, 30)
    found = registry.search_model_versions(name)
    assert [version.sync_state for version in found] == ["delivered"] * count
    return found


def test_a_runs_model_is_registered_in_an_outage_as_in_health(
    failing: Stack, model: LogisticRegression
) -> None:
    registry, name = failing.registry(), failing.model_name()
    with failing.manager().start_run() as run:
        logged = run.log_model(model, "classifier")
    path = f"{run.run_id}/classifier"
    uris = [f"runs:/{path}", f"runs:/{path}/", f"runs://{path}", f"RUNS:/{path}"]
    with failing.outage():
        for uri in uris:
            assert registry.register_model(uri, name).sync_state == "pending"
        registry.register_tokenized_model(uris[0], name, "tk", "f1", 0.5)
    delivered_versions(registry, name, len(uris) + 1)
    for uri in uris:
        registry.register_model(uri, name)
    found = registry.search_model_versions(name)
    assert len(found) == 2 * len(uris) + 1
    assert {version.source_uri for version in found} == {logged.model_uri}
    assert {(version.run_id, version.model_id) for version in found} == {
        (run.run_id, logged.logged_model_id)
    }
    loaded = registry.load_model(f"models:/{name}/1")
    assert (loaded.predict(X) == model.predict(X)).all()


def test_files_below_the_run_itself_stay_the_source(
    failing: Stack, model: LogisticRegression, tmp_path: Path
) -> None:
    registry, name = failing.registry(), failing.model_name()
    with failing.manager().start_run() as run:
        logged = run.log_model(model, "classifier")
        folder = registry.download_model(logged.model_uri, tmp_path / "saved")
        run.log_artifacts(folder, "old")
    with failing.outage():
        registry.register_model(f"runs:/{run.run_id}/old", name)
    (version,) = delivered_versions(registry, name, 1)
    assert version.source_uri == f"runs:/{run.run_id}/old"
    assert (registry.load_model(f"models:/{name}/1").predict(X) == model.predict(X)).all()


@pytest.fixture
def mock() -> MockBackend:
    return MockBackend()


@pytest.fixture
def registry(mock: MockBackend, tmp_path: Path) -> ModelRegistry:
    """One whose circuit stays closed after a single failure."""
    settings = Settings.load(data_dir=tmp_path, circuit_failures=2)
    return ModelRegistry(backend=mock, settings=settings)


def test_no_answer_is_not_taken_for_no_model(
    mock: MockBackend, registry: ModelRegistry, model: LogisticRegression
) -> None:
    """The look for a logged model fails, and what is asked next does not."""
    logged = registry.register_baseline(model, "clf")
    uri = f"runs:/{logged.run_id}/model"
    mock.fail_next(RateLimitedError("slow down", retry_after=0.1))
    assert registry.register_model(uri, "copy").sync_state == "delivered"
    assert registry.get_model_version("copy", 1).model_id == logged.logged_model_id
    mock.fail_next(RateLimitedError("slow down", retry_after=0.1))
    with pytest.raises(TransientError):
        registry.load_model(uri)
    assert (registry.load_model(uri).predict(X) == model.predict(X)).all()


def test_a_model_of_which_files_are_under_way_is_waited_for(
    mock: MockBackend, registry: ModelRegistry
) -> None:
    manager = ExperimentManager(registry, experiment_name="half")
    run = manager.start_run()
    write = registry.runtime.router.write
    experiment_id = run.get().info.experiment_id
    creation = CreateLoggedModel(run_id=run.run_id, experiment_id=experiment_id, name="late")
    model_id = write(creation).identifier
    mock.down()
    owner = ArtifactOwner(kind="model", id=model_id)
    digest = hashlib.sha256(b"data").hexdigest()
    file = LogArtifact(run_id=run.run_id, owner=owner, path="data", size=4, sha256=digest)
    write(file, lambda: io.BytesIO(b"data"))
    write(FinalizeLoggedModel(run_id=run.run_id, model_id=model_id, name="late"))
    registry.register_model(f"runs:/{run.run_id}/late", "half")
    mock.reject("log_artifact", RejectedError("no room"))
    mock.up()
    queue = SyncQueue(registry.runtime.settings, backend=mock)
    assert wait_for(lambda: [each.op_id for each in queue.entries(("dead",))] == [file.op_id], 30)
    assert {each.kind for each in queue.show(file.op_id).dependents} == {
        "finalize_logged_model",
        "create_model_version",
    }
    mock.accept("log_artifact")
    queue.retry([file.op_id])
    registry.runtime.drainer.wake(at_once=True)
    (version,) = delivered_versions(registry, "half", 1)
    assert (version.source_uri, version.model_id) == (f"models:/{model_id}", model_id)
