"""Writes to one run stay in one stream, whichever of its two ids they name."""

from hokusai_core.operations import CreateExperiment, CreateRun, LogBatch
from hokusai_core.settings import Settings
from hokusai_core.testing.simulation import (
    MemoryPlace,
    SimulatedClock,
    SimulatedProcess,
    World,
)


def test_a_write_under_the_primary_id_is_queued_where_the_others_are() -> None:
    clock = SimulatedClock()
    world = World(MemoryPlace(clock), clock, Settings.load(auto_sync=False))
    process = SimulatedProcess(world, "only", None)
    world.primary.down()
    experiment_id = process.router.write(CreateExperiment(name="e")).identifier
    creation = CreateRun(experiment_id=experiment_id, run_name="run", start_time=1)
    run_id = process.router.write(creation).identifier
    world.primary.up()
    clock.advance(16.0)
    while process.worker.run_once().kind == "progress":
        pass
    (run,) = world.primary.store.runs()
    process.restart()
    world.primary.time_out_after_applying()
    process.router.write(LogBatch(run_id=run.info.run_id, tags={"stage": "early"}))
    process.router.write(LogBatch(run_id=run_id, tags={"stage": "late"}))
    backlog = world.place.journal.journal_backlog(world.destination)
    assert [stream.stream for stream in backlog.streams] == [f"run/{run_id}"]
