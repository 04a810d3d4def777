"""A run that cannot be ended does not stand in the way of the next one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hokusai_core import ExperimentManager, HokusaiError, InvalidInputError, RunHandle, Settings
from hokusai_core.testing import MockBackend
from tests.support.waiting import wait_for


@pytest.fixture
def mock() -> MockBackend:
    return MockBackend()


@pytest.fixture
def manager(mock: MockBackend, tmp_path: Path) -> ExperimentManager:
    settings = Settings.load(data_dir=tmp_path, fallback="none", circuit_open_seconds=0.01)
    return ExperimentManager("stuck", backend=mock, settings=settings)


def leave_block(manager: ExperimentManager, trouble: Callable[[RunHandle], None]) -> None:
    with manager.start_run() as run:
        trouble(run)


def leave_block_by_exception(
    manager: ExperimentManager, trouble: Callable[[RunHandle], None]
) -> None:
    with manager.start_run() as run:
        trouble(run)
        run.log_metric("loss", 1.0)


def call_end(manager: ExperimentManager, trouble: Callable[[RunHandle], None]) -> None:
    run = manager.start_run()
    trouble(run)
    run.end()


def set_final_status(manager: ExperimentManager, trouble: Callable[[RunHandle], None]) -> None:
    run = manager.start_run()
    trouble(run)
    run.set_status("KILLED")


@pytest.mark.parametrize("way", [leave_block, leave_block_by_exception, call_end, set_final_status])
def test_no_server_to_end_it(
    mock: MockBackend,
    manager: ExperimentManager,
    way: Callable[[ExperimentManager, Callable[[RunHandle], None]], None],
) -> None:
    with pytest.raises(HokusaiError):
        way(manager, lambda _: mock.down())
    assert manager.active_run() is None


def test_a_run_that_somebody_deleted(mock: MockBackend, manager: ExperimentManager) -> None:
    run = manager.start_run()
    mock.store.delete_run(run.run_id)
    for _ in range(2):
        with pytest.raises(HokusaiError):
            run.end()
    with manager.start_run(run_name="next") as following:
        assert manager.active_run() is following
    assert manager.get_run(following.run_id).info.status == "FINISHED"


def test_the_run_around_it_is_active_again(mock: MockBackend, manager: ExperimentManager) -> None:
    with manager.start_run() as outer:
        with pytest.raises(HokusaiError), manager.start_run(nested=True) as inner:
            mock.store.delete_run(inner.run_id)
        assert manager.active_run() is outer


def test_an_end_that_failed_is_tried_again(mock: MockBackend, manager: ExperimentManager) -> None:
    run = manager.start_run()
    mock.down()
    with pytest.raises(HokusaiError):
        run.end()
    mock.up()
    assert wait_for(lambda: ended(run), 10.0)
    assert run.get().info.status == "FINISHED"


def ended(run: RunHandle) -> bool:
    try:
        run.end()
    except HokusaiError:
        return False
    return True


def test_a_status_that_is_none_leaves_the_run_active(manager: ExperimentManager) -> None:
    run = manager.start_run()
    with pytest.raises(InvalidInputError):
        run.end("DONE")  # type: ignore[arg-type]
    assert manager.active_run() is run
