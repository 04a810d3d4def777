"""Observers that a distribution declares in ``hokusai.observers``, and those that are given."""

import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from hokusai_core import ConfigurationError, ExperimentManager, ModelRegistry, Settings, status
from hokusai_core.events import RunDelivered
from hokusai_core.markers import hookimpl
from hokusai_core.observers import ObserverSet
from hokusai_core.testing import MockBackend
from tests.support.waiting import wait_for

GOOD = """
from hokusai_core.markers import hookimpl

told = []

@hookimpl
def observer_run_delivered(event):
    told.append(event)
"""
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a distribution with observers where Python finds it, as pip does."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def write(distribution: str, module: str, code: str, *entries: str) -> None:
        (folder / f"{module}.py").write_text(code)
        information = folder / f"{distribution.replace('-', '_')}-1.2.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Name: {distribution}\nVersion: 1.2\n")
        lines = "\n".join(entries)
        (information / "entry_points.txt").write_text(f"[hokusai.observers]\n{lines}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return write


def test_an_installed_observer_is_found_and_told(install: Install) -> None:
    install("acme-observer", "acme_observer", GOOD, "acme = acme_observer")
    manager = ExperimentManager("installed", backend=MockBackend())
    assert "acme_observer" not in sys.modules
    manager.start_run().end()
    assert manager.runtime.observers.flush(10)
    (event,) = sys.modules["acme_observer"].told
    assert isinstance(event, RunDelivered)
    (state,) = manager.runtime.observers.status()
    assert (state.name, state.origin, state.state, state.told) == (
        "acme",
        "acme-observer 1.2",
        "ready",
        1,
    )


@pytest.mark.parametrize(
    ("code", "entry", "reason"),
    [
        pytest.param(
            "import nothing_of_that_name", "x = broken", "nothing_of_that_name", id="import"
        ),
        pytest.param("raise SystemExit(1)", "x = broken", "SystemExit", id="exit"),
        pytest.param("value = 3", "x = broken:value", "implements none", id="no hooks"),
        pytest.param(GOOD.replace("run_del", "run_dle"), "x = broken", "run_dlei", id="misspelt"),
        pytest.param(GOOD.replace("(event)", "()"), "x = broken", "(event)", id="arguments"),
        pytest.param("class O: pass", "x = broken:O", "an instance", id="class"),
        pytest.param("", "x = broken:missing", "missing", id="attribute"),
    ],
)
def test_a_broken_one_is_reported_once_and_harms_nobody(
    install: Install, caplog: pytest.LogCaptureFixture, code: str, entry: str, reason: str
) -> None:
    install("broken-observer", "broken", code, entry)
    install("acme-observer", "acme_observer", GOOD, "acme = acme_observer")
    mock = MockBackend()
    manager = ExperimentManager("broken", backend=mock)
    for _ in range(2):
        manager.start_run().end()
    assert manager.runtime.observers.flush(10)
    assert len(sys.modules["acme_observer"].told) == 2
    ready, broken = status(backend=mock).observers
    assert (ready.state, broken.state) == ("ready", "broken")
    assert reason in broken.error
    assert broken.origin == "broken-observer 1.2"
    warned = [record for record in caplog.records if "broken-observer" in record.getMessage()]
    assert len(warned) == 1
    assert reason in warned[0].getMessage()


def test_status_loads_what_is_installed_and_waits_for_no_import(install: Install) -> None:
    code = "import threading\nthreading.Event().wait(30)\n"
    install("slow-observer", "slow_observer", code, "slow = slow_observer")
    observers = ObserverSet(timeout=0.05)
    (state,) = observers.status(wait=0.2)
    assert (state.name, state.state) == ("slow", "hanging")


class Counts:
    """An observer of one kind of event."""

    def __init__(self) -> None:
        self.runs: list[str] = []

    @hookimpl
    def observer_run_delivered(self, event: RunDelivered) -> None:
        self.runs.append(event.run_id)


def test_observers_are_given_to_managers_and_registries_and_told_once() -> None:
    mock, observer, other = MockBackend(), Counts(), Counts()
    registry = ModelRegistry(backend=mock, observers=[observer])
    manager = ExperimentManager(registry, experiment_name="given", observers=(observer, other))
    with manager.start_run() as run:
        pass
    assert manager.runtime.observers.flush(10)
    assert observer.runs == other.runs == [run.run_id]
    assert [each.origin for each in manager.runtime.observers.status()] == ["observers="] * 2


def test_observers_of_one_server_hear_nothing_of_another() -> None:
    observer = Counts()
    mine = ExperimentManager("a", backend=MockBackend(), observers=[observer])
    other = ExperimentManager("a", backend=MockBackend())
    other.start_run().end()
    with mine.start_run() as run:
        pass
    assert mine.runtime.observers.flush(10)
    assert other.runtime.observers.flush(10)
    assert observer.runs == [run.run_id]


class WrongArguments:
    @hookimpl
    def observer_run_delivered(self, what: object) -> None:
        """Never called."""


class Unknown:
    @hookimpl
    def observer_something_else(self, event: object) -> None:
        """Never called."""


@pytest.mark.parametrize(
    "observers",
    [
        pytest.param([object()], id="no hooks"),
        pytest.param([Counts], id="class"),
        pytest.param([WrongArguments()], id="arguments"),
        pytest.param([Unknown()], id="unknown hook"),
        pytest.param([types.ModuleType("empty")], id="module"),
        pytest.param([None], id="None"),
        pytest.param("abc", id="text"),
        pytest.param(3, id="number"),
        pytest.param(Counts(), id="not a list"),
    ],
)
def test_what_is_no_observer_is_refused_at_the_call(observers: object) -> None:
    for make in (ExperimentManager, ModelRegistry):
        with pytest.raises(ConfigurationError, match=r"[Oo]bserver"):
            make(backend=MockBackend(), observers=observers)


def test_a_forked_child_tells_its_own_events_and_not_its_parents(tmp_path: Path) -> None:
    """The parent's thread is in a call, holding its lock's place, when the child is made."""
    import os

    entered, release = threading.Event(), threading.Event()
    told = tmp_path / "told"

    class Writes:
        @hookimpl
        def observer_run_delivered(self, event: RunDelivered) -> None:
            if os.getpid() == parent:
                entered.set()
                release.wait(60)
            with told.open("a") as file:
                file.write(f"{'parent' if os.getpid() == parent else 'child'}\n")

    parent = os.getpid()
    settings = Settings.load(data_dir=tmp_path)
    manager = ExperimentManager(
        "fork", backend=MockBackend(), settings=settings, observers=[Writes()]
    )
    manager.start_run().end()
    assert entered.wait(10)
    child = os.fork()
    if child == 0:
        try:
            manager.start_run().end()
            os._exit(0 if manager.runtime.observers.flush(20) else 1)
        finally:
            os._exit(2)
    _, code = os.waitpid(child, 0)
    release.set()
    assert code == 0
    assert manager.runtime.observers.flush(10)
    assert wait_for(lambda: told.read_text().split() == ["child", "parent"])
