"""A job on a mock primary, with each kind of journal behind it."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from hokusai_core import ExperimentManager, ModelRegistry, Settings, SyncQueue
from hokusai_core.draining import DrainReport
from hokusai_core.runtime import Runtime
from hokusai_core.testing import MockBackend
from tests.support.waiting import wait_for

JOURNALS = ("memory", "sqlite", "postgresql")


@dataclass
class Job:
    """One process's view of a mock primary and of what waits for it."""

    mock: MockBackend
    settings: Settings

    @cached_property
    def manager(self) -> ExperimentManager:
        return ExperimentManager("queue", backend=self.mock, settings=self.settings)

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(backend=self.mock, settings=self.settings)

    @property
    def queue(self) -> SyncQueue:
        return SyncQueue(self.settings, backend=self.mock)

    @property
    def runtime(self) -> Runtime:
        return self.registry.runtime

    def drain(self, wait_seconds: float = 0.0) -> DrainReport:
        self.mock.up()
        circuits = self.runtime.circuits
        for circuit in (circuits.primary, circuits.artifacts):
            assert wait_for(lambda circuit=circuit: circuit.seconds_until_probe() == 0)
        return self.runtime.drain().run(wait_seconds=wait_seconds, stop=threading.Event())


@pytest.fixture
def make_job(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Makes jobs; their connections are closed in the end."""
    made: list[Job] = []

    def make(url: str = "", **values: object) -> Job:
        settings = Settings.load(
            **{
                "data_dir": tmp_path,
                "auto_sync": False,
                "late_effect_seconds": 0.0,
                "circuit_open_seconds": 0.01,
                "circuit_open_max_seconds": 0.02,
                "sync_threads": 1,
            }
            | ({"fallback": "sql", "database_url": url} if url else {})
            | values
        )
        job = Job(MockBackend(), settings)
        made.append(job)
        return job

    yield make
    for job in made:
        job.runtime.close_connections()


@pytest.fixture(params=JOURNALS)
def job(request: pytest.FixtureRequest, make_job: Callable[..., Job]) -> Iterator[Job]:
    if request.param == "memory":
        yield make_job()
        return
    fixture = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    yield make_job(request.getfixturevalue(fixture))
