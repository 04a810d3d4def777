"""One of the two MLflow servers goes away under load; then PostgreSQL itself."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from hokusai_core import Settings
from tests.high_availability.audit import (
    Figures,
    assert_all_there_once,
    nothing_waits,
    queued_after,
    runs_of,
    share,
)
from tests.high_availability.cluster import Cluster
from tests.high_availability.load import SETTINGS, Job
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.high_availability, pytest.mark.timeout(600)]

CHECK_EVERY, CHECK_AGAIN, CHECK_TIMEOUT = 1.0, 0.5, 2.0
REFUSED_DETECTION = CHECK_EVERY + CHECK_AGAIN
"""Seconds until HAProxy takes out a server that refuses: two checks, as `haproxy.cfg` says."""
SILENT_DETECTION = REFUSED_DETECTION + 2 * CHECK_TIMEOUT
"""Seconds until it takes out one that does not answer."""
SLACK = 2.0
"""For a busy machine."""
DEFAULTS = Settings.load(**SETTINGS)
CIRCUIT = DEFAULTS.circuit_open_seconds
JOBS = 2


class Load:
    """Jobs that write through the proxy: some with Hokusai, one with MLflow's client."""

    def __init__(self, jobs: list[Job], plain: Job) -> None:
        self.jobs = jobs
        self.plain = plain

    def finish(self, cluster: Cluster, fault: float, figures: Figures) -> None:
        """End all jobs, see that all is there once, and note the shares of calls since the fault."""
        all_told = [job.finish() for job in self.jobs]
        plain = self.plain.finish()
        figures.add(f"Hokusai: {share(all_told, fault)}")
        names = [name for name, _ in runs_of(cluster.url, self.plain.name)]
        figures.add(
            f"MLflow's client: {share([plain], fault)}; {len(names)} runs with {len(set(names))} names"
        )
        errors = [call for told in all_told for call in told.calls if call.error]
        assert errors == []
        for job, told in zip(self.jobs, all_told, strict=True):
            assert_all_there_once(cluster.url, job.name, told)

    def fallbacks(self, fault: float, figures: Figures) -> list[float]:
        """Give how long after the fault each write fell back to the journal, in seconds."""
        queued = [queued_after(job.folder, fault) for job in self.jobs]
        moments = sorted(moment - fault for each in queued for moment in each.fallbacks)
        count = sum(each.count for each in queued)
        if not moments:
            figures.add("nothing was queued")
            return []
        last = max(each.settled for each in queued) - fault
        figures.add(
            f"{len(moments)} runs fell back, the last after {moments[-1]:.1f} s; {count} "
            f"operations were queued, the last was delivered after {last:.1f} s"
        )
        return moments

    def explain(self, moments: list[float]) -> str:
        """Give what a person needs who looks for the cause."""
        return "\n".join([str(moments), *(job.log() for job in self.jobs)])


@pytest.fixture
def load(cluster: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Load]:
    """A load in full swing, with nothing queued."""
    name = request.node.name
    with ExitStack() as stack:

        def start(kind: str, label: str) -> Job:
            job = Job(kind, cluster.url, tmp_path / label, f"{name} {label}")
            stack.callback(job.end)
            return job

        load = Load(
            [start("hokusai", f"job-{number}") for number in range(JOBS)], start("plain", "plain")
        )
        for job in (*load.jobs, load.plain):
            job.wait_until_it_writes()
        assert wait_for(lambda: all(nothing_waits(job.folder) for job in load.jobs), 60.0)
        go_on(3.0)
        yield load


def go_on(seconds: float) -> None:
    """Let the load run; how long it runs is what these tests vary."""
    time.sleep(seconds)


@contextmanager
def up_again(cluster: Cluster, start: Callable[[], None]) -> Iterator[None]:
    """Whatever happens, both servers run afterwards."""
    try:
        yield
    finally:
        start()
        cluster.proxy.wait_for_states("UP", "UP", seconds=60.0)


def test_a_killed_server(cluster: Cluster, load: Load, figures: Figures) -> None:
    server = cluster.servers[0]
    with up_again(cluster, server.start):
        fault = time.time()
        server.end()
        seen = cluster.proxy.wait_for_states("DOWN", "UP")
        assert seen < REFUSED_DETECTION + SLACK
        figures.add(f"HAProxy took the server out after {seen:.1f} s")
        go_on(10.0)
    go_on(3.0)
    load.finish(cluster, fault, figures)
    moments = load.fallbacks(fault, figures)
    assert all(after < REFUSED_DETECTION + CIRCUIT + SLACK for after in moments), load.explain(
        moments
    )


def test_a_frozen_server(cluster: Cluster, load: Load, figures: Figures) -> None:
    """It takes connections and answers none, as a machine that has lost its disk or its mind."""
    server = cluster.servers[1]
    with up_again(cluster, lambda: server.send(signal.SIGCONT)):
        fault = time.time()
        server.send(signal.SIGSTOP)
        seen = cluster.proxy.wait_for_states("UP", "DOWN")
        assert seen < SILENT_DETECTION + SLACK
        figures.add(f"HAProxy took the server out after {seen:.1f} s")
        go_on(4.0)
    go_on(12.0)
    load.finish(cluster, fault, figures)
    moments = load.fallbacks(fault, figures)
    bound = SILENT_DETECTION + DEFAULTS.request_timeout + CIRCUIT + SLACK
    assert all(after < bound for after in moments), load.explain(moments)


def test_a_planned_restart(cluster: Cluster, load: Load, figures: Figures) -> None:
    """Drained first, as the how-to says: no call notices."""
    server = cluster.servers[0]
    fault = time.time()
    cluster.proxy.set_state("mlflow1", "drain")
    with up_again(cluster, lambda: cluster.proxy.set_state("mlflow1", "ready")):
        cluster.proxy.wait_until_idle("mlflow1")
        server.end(signal.SIGTERM)
        server.start()
    go_on(3.0)
    load.finish(cluster, fault, figures)
    assert load.fallbacks(fault, figures) == []


def test_postgresql_restarts(cluster: Cluster, load: Load, figures: Figures) -> None:
    fault = time.time()
    with up_again(cluster, cluster.postgres.start):
        cluster.postgres.kill()
        cluster.proxy.wait_for_states("DOWN", "DOWN")
    back = time.time() - fault
    figures.add(f"PostgreSQL was killed, and both servers were in use again after {back:.1f} s")
    go_on(5.0)
    load.finish(cluster, fault, figures)
    moments = load.fallbacks(fault, figures)
    assert moments, "both servers were without their database"
    bound = back + DEFAULTS.circuit_open_max_seconds + SLACK
    assert all(after < bound for after in moments), load.explain(moments)
