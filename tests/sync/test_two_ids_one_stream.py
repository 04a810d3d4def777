"""Writes to one run stay in one stream, whichever of its two ids they name."""

import pytest

from hokusai_core.operations import CreateExperiment, CreateRun, LogBatch
from hokusai_core.settings import Delivery, Settings
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


@pytest.mark.parametrize("delivery", ["direct", "queued"])
def test_what_went_to_the_spool_under_the_primary_id_is_forwarded_where_the_others_are(
    delivery: Delivery,
) -> None:
    clock = SimulatedClock()
    world = World(MemoryPlace(clock), clock, Settings.load(auto_sync=False))
    writer = SimulatedProcess(world, "writer", None, "queued")
    experiment_id = writer.router.write(CreateExperiment(name="e")).identifier
    creation = CreateRun(experiment_id=experiment_id, run_name="run", start_time=1)
    run_id = writer.router.write(creation).identifier
    while writer.worker.run_once().kind == "progress":
        pass
    (run,) = world.primary.store.runs()
    # This one knows the run by the primary's id only, and cannot ask the journal for the other.
    process = SimulatedProcess(world, "with a spool", MemoryPlace(clock).journal, delivery)
    world.journal_down = True
    world.primary.down()
    process.router.write(LogBatch(run_id=run.info.run_id, tags={"stage": "early"}))
    process.router.write(LogBatch(run_id=run_id, tags={"stage": "late"}))
    world.mend()
    process.forward()
    backlog = world.place.journal.journal_backlog(world.destination)
    assert [stream.stream for stream in backlog.streams] == [f"run/{run_id}"]
    clock.advance(60.0)
    while process.worker.run_once().kind == "progress":
        pass
    (run,) = world.primary.store.runs()
    assert run.data.tags["stage"] == "late"
