"""An error that says that a record is kept nowhere names the places that were tried, and no other."""

from typing import cast

import pytest

from hokusai_core.errors import JournalUnavailableError, NotStoredError
from hokusai_core.hookspecs import Journal, OpenContent
from hokusai_core.journal import Entry
from hokusai_core.operations import CreateExperiment
from hokusai_core.settings import Delivery, Settings
from hokusai_core.testing.memory_journal import MemoryJournal
from hokusai_core.testing.simulation import (
    MemoryPlace,
    SimulatedClock,
    SimulatedProcess,
    World,
)


class FullSpool(MemoryJournal):
    """One whose disk is full."""

    def journal_append(self, entries: tuple[Entry, ...], open_content: OpenContent | None) -> int:
        raise JournalUnavailableError("The disk is full.")


@pytest.mark.parametrize(
    ("delivery", "spool", "said"),
    [
        ("direct", True, "primary, journal and spool all failed. (1)"),
        ("direct", False, "primary and journal failed. (1)"),
        ("queued", True, "journal and spool failed. (1)"),
        ("queued", False, "the journal failed. (1) The journal is down. Mend"),
    ],
)
def test_the_places_that_were_tried_are_named(delivery: Delivery, spool: bool, said: str) -> None:
    clock = SimulatedClock()
    world = World(MemoryPlace(clock), clock, Settings.load(auto_sync=False))
    place = cast("Journal", FullSpool()) if spool else None
    process = SimulatedProcess(world, "only", place, delivery)
    world.primary.down()
    world.journal_down = True
    with pytest.raises(NotStoredError) as raised:
        process.router.write(CreateExperiment(name="e"))
    assert f"A create_experiment operation is kept nowhere: {said}" in str(raised.value)
