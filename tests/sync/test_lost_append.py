"""An append whose answer was lost may be stored: later writes must not overtake it."""

import pytest

from hokusai_core.errors import NotStoredError
from hokusai_core.operations import CreateExperiment, CreateRun, LogBatch
from hokusai_core.settings import Settings
from hokusai_core.testing.simulation import (
    MemoryPlace,
    SimulatedClock,
    SimulatedProcess,
    World,
)


def test_what_comes_after_an_append_without_an_answer_stays_behind_it() -> None:
    clock = SimulatedClock()
    world = World(MemoryPlace(clock), clock, Settings.load(auto_sync=False))
    process = SimulatedProcess(world, "only", None)
    experiment_id = process.router.write(CreateExperiment(name="e")).identifier
    creation = CreateRun(experiment_id=experiment_id, run_name="run", start_time=1)
    run_id = process.router.write(creation).identifier
    world.primary.down()
    world.answers_to_lose.append("journal_append")
    with pytest.raises(NotStoredError):
        process.router.write(LogBatch(run_id=run_id, tags={"stage": "early"}))
    world.primary.up()
    clock.advance(16.0)
    process.router.write(LogBatch(run_id=run_id, tags={"stage": "late"}))
    while process.worker.run_once().kind == "progress":
        pass
    assert world.place.journal.journal_backlog("").waiting == 0
    assert world.primary.store.get_run(run_id).data.tags["stage"] == "late"
