"""``runs:/run_id/name`` means the model that the run logged, also where the primary cannot say so."""

from pathlib import Path

import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from hokusai_core import (
    ModelRegistry,
    ModelVersion,
    Settings,
    TransientError,
)
from hokusai_core.errors import RateLimitedError
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
