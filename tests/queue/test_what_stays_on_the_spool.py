"""What is on the spool keeps later writes there until it is forwarded; nothing else does."""

import random
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from hokusai_core.backends import OpenBackend
from hokusai_core.circuit_breaker import CircuitBreaker
from hokusai_core.clock import SystemClock
from hokusai_core.errors import JournalUnavailableError
from hokusai_core.fallback import FallbackStore
from hokusai_core.forwarding import Forwarder
from hokusai_core.journal import Entry, EntryQuery, QueuedOperation
from hokusai_core.operations import LogBatch
from hokusai_core.settings import Settings
from hokusai_core.testing.memory_journal import MemoryJournal

HERE = "http://here.example"
RETIRED = "http://retired.example"


class Place(MemoryJournal):
    """A journal that may be away, and which may be stopped after an answer."""

    away = False
    page = 10_000
    after_read: Callable[[], object] = staticmethod(lambda: None)

    def journal_append(self, entries: tuple[Entry, ...], open_content: Any) -> int:
        if self.away:
            raise JournalUnavailableError("The journal of this test is away.")
        return cast("int", super().journal_append(entries, open_content))

    def journal_read(self, query: EntryQuery) -> tuple[QueuedOperation, ...]:
        page = query.model_copy(update={"limit": min(query.limit, self.page)})
        found = cast("tuple[QueuedOperation, ...]", super().journal_read(page))
        self.after_read()
        return found

    @property
    def journal(self) -> "Place":
        return self


class Scene:
    """A store with a journal and a spool, both in memory."""

    def __init__(self) -> None:
        self.journal, self.spool = Place(), Place()
        self.store = self.new_store()

    def new_store(self) -> FallbackStore:
        """A store as another process would have it."""
        breaker = CircuitBreaker(
            failures=1000,
            open_seconds=0.001,
            open_max_seconds=0.001,
            probe_seconds=4,
            clock=SystemClock(),
            random_source=random.Random(1),
        )
        journal, spool = cast("OpenBackend", self.journal), cast("OpenBackend", self.spool)
        return FallbackStore(lambda: journal, lambda: spool, breaker, 10**9)

    def write(self, run: str, value: str = "1", destination: str = HERE) -> str:
        return self.store.append(entry(run, value, destination), None, None)

    def forward(self) -> int:
        forwarder = Forwarder(
            cast("Any", self.spool), cast("Any", self.journal), HERE, Settings.load(), "test"
        )
        return forwarder.forward()


def entry(run: str, value: str, destination: str = HERE) -> Entry:
    return Entry(LogBatch(run_id=run, tags={"stage": value}), destination, fresh=True)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_look_at_the_spool_does_not_hide_what_came_there_meanwhile(scene: Scene) -> None:
    scene.journal.away = True
    scene.write("a")
    scene.journal.away = False
    assert scene.forward() == 1
    asked, go_on = threading.Event(), threading.Event()

    def stop_second_thread() -> None:
        if threading.current_thread().name == "second":
            asked.set()
            assert go_on.wait(10)

    scene.spool.after_read = stop_second_thread
    scene.journal.away = True
    second = threading.Thread(name="second", target=lambda: scene.write("c"))
    second.start()
    assert asked.wait(10)
    assert scene.write("b", "early") == "spool"
    scene.journal.away = False
    go_on.set()
    second.join()
    assert scene.write("b", "late") == "spool"


def test_every_waiting_stream_of_a_long_spool_is_known(scene: Scene) -> None:
    scene.spool.page = 2
    many = tuple(entry(run, "early") for run in "abcd")
    scene.spool.journal_append(many, None)
    assert scene.write("another") == "spool"
    first_three = {one.op_id for one in many[:-1]}
    others = scene.spool.journal_read(EntryQuery(streams=(entry("another", "").stream,)))
    scene.spool.journal_discard((*first_three, *(one.op_id for one in others)))
    assert scene.write("d", "late") == "spool"


def test_what_another_destination_left_keeps_nothing_back(scene: Scene) -> None:
    scene.spool.journal_append((entry("old", "1", RETIRED),), None)
    assert scene.write("new") == "journal"
    scene.journal.away = True
    assert scene.write("new", "2") == "spool"
    scene.journal.away = False
    assert scene.write("new", "3") == "spool"
    assert scene.forward() == 2
    assert scene.write("new", "4") == "journal"


def test_an_empty_spool_is_asked_once(scene: Scene) -> None:
    questions: list[int] = []
    scene.spool.after_read = lambda: questions.append(1)
    for number in range(5):
        assert scene.write("run", str(number)) == "journal"
    assert len(questions) == 1


def test_what_an_earlier_process_left_keeps_later_writes_there(scene: Scene) -> None:
    scene.journal.away = True
    scene.write("run", "early")
    scene.journal.away = False
    scene.store = scene.new_store()
    assert scene.write("run", "late") == "spool"
    assert scene.forward() == 2
    assert scene.write("run", "last") == "journal"
