"""What is listed while the primary is away says once for each call that it is not complete."""

import logging
from collections.abc import Callable, Sized
from pathlib import Path

import pytest

from hokusai_core import ExperimentManager, ModelRegistry, RunHandle, Settings
from hokusai_core.errors import TransientError
from hokusai_core.testing import MockBackend

KNOWN, WAITING = 1, 2


@pytest.fixture
def mock() -> MockBackend:
    return MockBackend()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(data_dir=tmp_path, auto_sync=False)


@pytest.fixture
def manager(mock: MockBackend, settings: Settings) -> ExperimentManager:
    registry = ModelRegistry(backend=mock, settings=settings)
    return ExperimentManager(registry, experiment_name="lists")


@pytest.fixture
def run(manager: ExperimentManager) -> RunHandle:
    run = manager.start_run()
    run.log_metric("loss", KNOWN)
    run.log_text("known", "known.txt")
    run.log_text("known", "folder/known.txt")
    return run


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def registry_of(manager: ExperimentManager) -> ModelRegistry:
    assert isinstance(manager.registry, ModelRegistry)
    return manager.registry


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if (record.name, record.levelno) == ("hokusai", logging.WARNING)
        and "incomplete" in record.getMessage()
    ]


Call = Callable[[ExperimentManager, RunHandle, Path], Sized]

LISTS: list[tuple[str, Call, str]] = [
    ("runs", lambda m, r, _: m.search_runs(), "list of runs"),
    ("history", lambda m, r, _: m.get_metric_history(r.run_id, "loss"), "points of metric 'loss'"),
    ("artifacts", lambda m, r, _: m.list_artifacts(r.run_id), "list of artifacts"),
    ("download", lambda m, r, to: names_in(r.download_artifacts("", to)), "list of artifacts"),
    ("versions", lambda m, r, _: registry_of(m).search_model_versions(), "model versions"),
    ("type", lambda m, r, _: registry_of(m).list_models_by_type("clf"), "model versions"),
    ("models", lambda m, r, _: registry_of(m).list_registered_models(), "registered models"),
]


@pytest.mark.parametrize(("call", "what"), [each[1:] for each in LISTS], ids=[e[0] for e in LISTS])
def test_what_is_known_here_is_given_with_one_warning(
    mock: MockBackend,
    manager: ExperimentManager,
    run: RunHandle,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    call: Call,
    what: str,
) -> None:
    mock.down()
    run.log_text("waiting", "waiting.txt")
    run.log_text("waiting", "folder/below/waiting.txt")
    run.log_metric("loss", WAITING)
    registry_of(manager).register_baseline("s3://bucket/model", "clf")
    for count in 1, 2:
        assert call(manager, run, tmp_path / "there")
        found = warnings_in(caplog)
        assert len(found) == count, found
        assert what in found[-1]
    mock.up()


@pytest.mark.parametrize("name", ["history", "artifacts", "download", "type"])
def test_nothing_known_here_raises(
    mock: MockBackend, manager: ExperimentManager, run: RunHandle, tmp_path: Path, name: str
) -> None:
    (call,) = (each[1] for each in LISTS if each[0] == name)
    mock.down()
    run.log_metric("other", 1.0)
    with pytest.raises(TransientError):
        call(manager, run, tmp_path / "there")


def test_a_folder_of_which_nothing_waits(
    mock: MockBackend, manager: ExperimentManager, run: RunHandle
) -> None:
    mock.down()
    run.log_text("waiting", "waiting.txt")
    with pytest.raises(TransientError):
        manager.list_artifacts(run.run_id, "folder")


@pytest.mark.parametrize("name", ["runs", "versions", "models"])
def test_a_search_that_finds_nothing_warns(
    mock: MockBackend,
    settings: Settings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    run: RunHandle,
    name: str,
) -> None:
    (call,) = (each[1] for each in LISTS if each[0] == name)
    registry = ModelRegistry(backend=mock, settings=settings)
    stranger = ExperimentManager(registry, experiment_name="never seen")
    mock.down()
    assert call(stranger, run, tmp_path) == []
    assert len(warnings_in(caplog)) == 1


def test_without_a_fallback_a_search_raises_also_where_its_experiment_is_not_known(
    mock: MockBackend,
) -> None:
    manager = ExperimentManager("none", backend=mock, settings=Settings.load(fallback="none"))
    mock.down()
    with pytest.raises(TransientError):
        manager.search_runs()


def test_in_health_nothing_warns(
    manager: ExperimentManager, run: RunHandle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry_of(manager).register_baseline("s3://bucket/model", "clf")
    for _, call, _ in LISTS:
        assert call(manager, run, tmp_path / "there")
    assert warnings_in(caplog) == []
