"""What names a creation can come to the journal before it, when the creation is on a spool."""

import pytest

from hokusai_core.journal import Entry
from hokusai_core.operations import CreateExperiment, CreateRun, LogBatch, UpdateRun
from hokusai_core.settings import Settings
from hokusai_core.testing.simulation import (
    MemoryPlace,
    SimulatedClock,
    SimulatedProcess,
    World,
)


def a_world() -> tuple[World, SimulatedProcess]:
    clock = SimulatedClock()
    world = World(MemoryPlace(clock), clock, Settings.load(auto_sync=False))
    return world, SimulatedProcess(world, "first", MemoryPlace(clock).journal)


def drained(world: World, process: SimulatedProcess) -> bool:
    process.restart()
    world.mend()
    for _ in range(10):
        process.forward()
        while process.worker.run_once().kind == "progress":
            pass
        world.clock.advance(61.0)
    return world.place.journal.journal_backlog(world.destination).waiting == 0


def a_run(world: World, process: SimulatedProcess) -> str:
    creation = CreateExperiment(name=world.name("experiment"))
    experiment_id = process.router.write(creation).identifier
    operation = CreateRun(experiment_id=experiment_id, run_name="run", start_time=1)
    return process.router.write(operation).identifier


def test_a_process_that_begins_anew_stays_behind_what_is_on_its_spool() -> None:
    world, process = a_world()
    world.primary.down()
    world.journal_down = True
    run_id = a_run(world, process)
    world.journal_down = False
    process.restart()
    process.router.write(LogBatch(run_id=run_id, tags={"stage": "late"}))
    assert world.place.journal.journal_backlog("").waiting == 0
    assert drained(world, process)
    (run,) = world.primary.store.runs()
    assert run.data.tags["stage"] == "late"


@pytest.mark.parametrize("batches", [1, 1100], ids=["few", "more than one claim takes"])
def test_a_creation_that_comes_after_its_user_is_delivered_before_it(batches: int) -> None:
    world, first = a_world()
    second = SimulatedProcess(world, "second", None)
    world.primary.down()
    world.journal_down = True
    run_id = a_run(world, first)
    world.journal_down = False
    users = (LogBatch(run_id=run_id, tags={"stage": f"early {n}"}) for n in range(batches))
    entries = tuple(Entry(user, world.destination) for user in users)
    world.place.journal.journal_append(entries, None)
    second.router.write(UpdateRun(run_id=run_id, status="FINISHED", end_time=5))
    assert drained(world, first)
    (run,) = world.primary.store.runs()
    assert run.data.tags["stage"] == f"early {batches - 1}"
    assert run.info.status == "FINISHED"
