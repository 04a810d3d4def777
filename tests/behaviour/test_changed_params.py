"""A param that a handle logged cannot get another value: the same error, whether the server answers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hokusai_core import ConflictError, ExperimentManager, RunHandle, Settings
from hokusai_core.testing import MockBackend

Change = Callable[[RunHandle], None]

CHANGES: list[Change] = [
    lambda run: run.log_param("p", 2),
    lambda run: run.log_params({"other": 1, "p": 2}),
    lambda run: run.log_batch(params={"p": 2}, tags={"team": "a"}),
]


@pytest.fixture
def mock() -> MockBackend:
    return MockBackend()


@pytest.fixture(params=["direct", "queued"])
def manager(request: pytest.FixtureRequest, mock: MockBackend, tmp_path: Path) -> ExperimentManager:
    settings = Settings.load(data_dir=tmp_path, auto_sync=False, delivery=request.param)
    return ExperimentManager("params", backend=mock, settings=settings)


@pytest.mark.parametrize("begun_in_outage", [False, True])
@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_another_value_is_refused_at_the_call(
    mock: MockBackend, manager: ExperimentManager, change: Change, away: bool, begun_in_outage: bool
) -> None:
    if begun_in_outage:
        mock.down()
    run = manager.start_run()
    run.log_param("p", 1)
    if away:
        mock.down()
    before = manager.runtime.waiting()
    with pytest.raises(ConflictError, match="'p' is '1' and cannot become '2'"):
        change(run)
    assert manager.runtime.waiting() == before
    run.log_param("p", "1")
    assert run.get().data.params == {"p": "1"}
    mock.up()
