"""``auto_sync="process"``: a process of its own delivers, and what becomes of it loses nothing."""

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from hokusai_core import ConfigurationError, ExperimentManager, Settings
from hokusai_core.delivery_process import DeliveryProcess
from hokusai_core.draining import BackgroundDrainer
from hokusai_core.events import CircuitChanged, DeadLettered, RunDelivered
from hokusai_core.journal import EntryQuery
from hokusai_core.operations import LogBatch
from hokusai_core.run_handle import RunHandle
from hokusai_core.testing import MockBackend
from tests.acceptance import programs
from tests.support.fault_proxy import FaultProxy
from tests.support.mlflow_server import MlflowServer
from tests.support.ports import free_port
from tests.support.recorder import Recorder
from tests.support.stub_server import StubServer
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")

Make = Callable[..., ExperimentManager]
SOON = {"circuit_open_seconds": 0.2, "circuit_open_max_seconds": 0.5, "late_effect_seconds": 1.0}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes managers whose queue a process of its own delivers."""
    made: list[ExperimentManager] = []

    def make(uri: str, *, observers: Any = (), **values: Any) -> ExperimentManager:
        settings: dict[str, Any] = {
            "data_dir": tmp_path / "data",
            "delivery": "queued",
            "durability": "process",
            "auto_sync": "process",
        }
        manager = ExperimentManager(
            "by a process",
            uri,
            observers=observers,
            settings=Settings.load(**SOON | settings | values),
        )
        made.append(manager)
        return manager

    yield make
    for manager in made:
        manager.runtime.drainer.stop(10.0)
        manager.runtime.close_connections()


def process_of(manager: ExperimentManager) -> DeliveryProcess:
    drainer = manager.runtime.drainer
    assert isinstance(drainer, DeliveryProcess)
    return drainer


def pid_of(manager: ExperimentManager) -> int:
    process = process_of(manager)
    assert wait_for(lambda: process.pid is not None)
    assert process.pid is not None
    return process.pid


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def steps_on(server: MlflowServer, run_id: str, key: str = "loss") -> list[int]:
    history = MlflowClient(server.url).get_metric_history(run_id, key)
    return sorted(point.step for point in history)


@pytest.mark.parametrize("durability", ["machine", "process", "relaxed"])
def test_another_process_delivers_and_ends_with_the_job(
    durability: str, make: Make, mlflow_server: MlflowServer
) -> None:
    manager = make(mlflow_server.url, durability=durability)
    with manager.start_run() as run:
        for step in range(300):
            run.log_metrics({"loss": step / 7, "accuracy": step / 9}, step=step)
        run.log_params({"lr": 0.1})
        run.log_text("text", "a.txt")
    primary_id = run.wait(60)
    pid = pid_of(manager)
    assert pid != os.getpid()
    assert alive(pid)
    assert not process_of(manager)._instead.running
    stored = MlflowClient(mlflow_server.url).get_run(primary_id)
    assert (stored.info.status, stored.data.params) == ("FINISHED", {"lr": "0.1"})
    for key in ("loss", "accuracy"):
        assert steps_on(mlflow_server, primary_id, key) == list(range(300))
    run.log_metric("late", 1.0)
    assert manager.runtime.close(30.0) == 0
    assert steps_on(mlflow_server, primary_id, "late") == [0]
    manager.runtime.drainer.stop(10.0)
    assert not alive(pid)
    assert not process_of(manager).running


def test_where_the_process_is_killed_a_thread_goes_on(
    make: Make, mlflow_server: MlflowServer, caplog: pytest.LogCaptureFixture
) -> None:
    with FaultProxy(mlflow_server.port, mode="hold_answer") as proxy:
        limits = {"write_timeout": 2.0, "artifact_idle_timeout": 2.0, "lease_seconds": 4.0}
        manager = make(proxy.url, **limits)
        run = manager.start_run()
        for step in range(100):
            run.log_metric("loss", step / 7, step=step)
        pid = pid_of(manager)
        # The creation of the experiment is on its way, and perhaps carried out: nobody says.
        assert wait_for(lambda: proxy.requests, 30.0)
        os.kill(pid, signal.SIGKILL)
        proxy.mode = "pass"
        for step in range(100, 200):
            run.log_metric("loss", step / 7, step=step)
        assert wait_for(lambda: "has ended with code -9" in caplog.text)
        assert process_of(manager).pid is None
        primary_id = run.wait(90)
    assert steps_on(mlflow_server, primary_id) == list(range(200))
    client = MlflowClient(mlflow_server.url)
    stored = client.get_run(primary_id)
    same = f"tags.`hokusai.op_id` = '{stored.data.tags['hokusai.op_id']}'"
    found = client.search_runs([stored.info.experiment_id], same)
    assert [one.info.run_id for one in found] == [primary_id]


def steps_in_journal(manager: ExperimentManager, run_id: str) -> list[int]:
    """Look into the journal as it is: what stands in files is left there."""
    assert manager.runtime.fallback is not None
    query = EntryQuery(streams=(f"run/{run_id}",), kinds=("log_batch",))
    entries = manager.runtime.fallback.journal.journal_read(query)
    points = [one for entry in entries for one in entry.operation.metrics]  # type: ignore[union-attr]
    return [point.step for point in points if point.key == "loss"]


def log(run: RunHandle, steps: range) -> None:
    for step in steps:
        run.log_metrics({"loss": step / 7, "accuracy": step / 9}, step=step)
        time.sleep(0.001)


@pytest.mark.parametrize("durability", ["process", "relaxed"])
def test_the_process_appends_what_the_job_logs(
    durability: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = make(f"http://127.0.0.1:{free_port()}", durability=durability)
    run = manager.start_run()
    pid_of(manager)
    monkeypatch.setattr(RunHandle, "write_points", None)  # the job itself appends nothing
    log(run, range(500))
    assert wait_for(lambda: len(steps_in_journal(manager, run.run_id)) == 500, 30.0)
    log(run, range(500, 600))
    # A file is settled by whoever comes first: the next write of the job, or the process.
    assert wait_for(lambda: run._buffer.empty)  # type: ignore[union-attr]
    run.log_param("lr", 0.1)
    assert sorted(steps_in_journal(manager, run.run_id)) == list(range(600))


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
def test_a_process_that_is_stopped_holds_nothing_up(make: Make) -> None:
    recorder = Recorder()
    manager = make(
        f"http://127.0.0.1:{free_port()}",
        observers=[recorder],
        circuit_open_seconds=300.0,
        circuit_open_max_seconds=300.0,
    )
    run = manager.start_run()
    pid = pid_of(manager)
    # From then on it asks neither the server nor the journal: it does not hold that when it is stopped.
    assert wait_for(lambda: [one for one in recorder.of(CircuitChanged) if one.new == "open"], 30.0)
    time.sleep(0.5)
    os.kill(pid, signal.SIGSTOP)
    try:
        log(run, range(400))
        run.log_param("lr", 0.1)
        assert sorted(steps_in_journal(manager, run.run_id)) == list(range(400))
        assert run.get().data.metrics["loss"] == 399 / 7
    finally:
        os.kill(pid, signal.SIGCONT)


def test_where_no_process_can_be_started_a_thread_delivers(
    make: Make,
    mlflow_server: MlflowServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    manager = make(mlflow_server.url)
    run = manager.start_run()
    run.log_metric("loss", 0.5)
    assert steps_on(mlflow_server, run.wait(30)) == [0]
    told = [one.message for one in caplog.records if "could not be started" in one.message]
    assert len(told) == 1
    assert "/no/such/python" in told[0]
    assert "nothing is lost" in told[0]


def test_where_the_process_would_find_another_journal_a_thread_delivers(
    make: Make,
    mlflow_server: MlflowServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    manager = make(mlflow_server.url, data_dir="data")
    monkeypatch.chdir(tmp_path / "other")
    run = manager.start_run()
    run.log_metric("loss", 0.5)
    assert steps_on(mlflow_server, run.wait(60)) == [0]
    assert "has ended with code 1" in caplog.text


WITHOUT_STANDARD_ERROR = """
    import os
    from hokusai_core import ExperimentManager

    os.close(2)
    manager = ExperimentManager("no stderr", delivery="queued")
    run = manager.start_run()
    run.wait(60)
    print(manager.runtime.drainer.pid is not None)
"""


def test_a_job_without_a_standard_error_is_delivered_for_too(mlflow_server: MlflowServer) -> None:
    done = programs.run(
        WITHOUT_STANDARD_ERROR,
        fresh=True,
        MLFLOW_TRACKING_URI=mlflow_server.url,
        HOKUSAI_AUTO_SYNC="process",
    )
    assert done.stdout == "True\n"


KILLED_JOB = """
    import os, signal, sys, time
    from hokusai_core import ExperimentManager

    manager = ExperimentManager("a killed job", delivery="queued")
    run = manager.start_run()
    run.wait(60)
    for step in range(200):
        run.log_metric("loss", step / 7, step=step)
    if manager.config.settings.durability == "relaxed":
        time.sleep(1.0)  # many times what may be lost
    print(run.run_id, manager.runtime.drainer.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("durability", ["process", "relaxed"])
def test_what_a_killed_job_left_is_delivered_and_the_process_ends(
    durability: str, mlflow_server: MlflowServer
) -> None:
    job = programs.run(
        KILLED_JOB,
        code=-signal.SIGKILL,
        HOKUSAI_DURABILITY=durability,
        MLFLOW_TRACKING_URI=mlflow_server.url,
        HOKUSAI_AUTO_SYNC="process",
        HOKUSAI_EXIT_TIMEOUT=60,
    )
    run_id, pid = job.stdout.split()
    assert wait_for(lambda: not alive(int(pid)), 60.0)
    settings = Settings.load(auto_sync=False)
    reader = ExperimentManager("a killed job", mlflow_server.url, settings=settings)
    assert reader.runtime.waiting() == 0
    primary_id = reader.get_run(run_id).info.run_id
    reader.runtime.close_connections()
    assert steps_on(mlflow_server, primary_id) == list(range(200))


KILLED_AT_ONCE = """
    import os, signal
    from hokusai_core import ExperimentManager, delivery_process

    def killed(*arguments):
        os.kill(os.getpid(), signal.SIGKILL)

    delivery_process.send = killed
    ExperimentManager("killed at once", delivery="queued").start_run()
    while True:
        signal.pause()
"""


def test_a_job_that_is_killed_while_the_process_starts_leaves_no_noise() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED_AT_ONCE)],
        env=programs.environment(
            MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port()}", HOKUSAI_AUTO_SYNC="process"
        ),
        stderr=subprocess.PIPE,
        text=True,
    ) as job:
        # The process has the same standard error, so that is at its end when both have ended.
        assert job.communicate(timeout=60)[1] == ""
    assert job.returncode == -signal.SIGKILL


def test_the_job_hears_and_logs_what_happens_there(
    make: Make, mlflow_server: MlflowServer, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    manager = make(mlflow_server.url, observers=[recorder])
    with manager.start_run() as run:
        run.log_param("lr", 0.1)
        manager.runtime.router.write(LogBatch(run_id=run.run_id, params={"lr": "0.2"}))
    primary_id = run.wait(60)
    assert wait_for(lambda: recorder.of(RunDelivered))
    (letter,) = recorder.of(DeadLettered)
    assert (letter.kind, letter.stream) == ("log_batch", f"run/{run.run_id}")
    (end,) = recorder.of(RunDelivered)
    assert (end.run_id, end.provisional_id, end.status) == (primary_id, run.run_id, "FINISHED")
    told = [one for one in caplog.records if "refused a waiting log_batch for good" in one.message]
    assert [(one.name, one.levelno) for one in told] == [("hokusai_core.sync", logging.WARNING)]


def test_secrets_reach_it_unseen_and_a_renewed_token_is_used(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StubServer() as server:
        given = make(server.url, api_key="given-as-argument")
        given.start_run()
        assert wait_for(lambda: server.requests, 30.0)
        assert server.requests[0].headers["Authorization"] == "Bearer given-as-argument"
        process = Path(f"/proc/{pid_of(given)}")
        for place in ("cmdline", "environ"):
            assert b"given-as-argument" not in (process / place).read_bytes()
        given.runtime.drainer.stop(10.0)
        server.requests.clear()
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "first")
        renewed = make(server.url, destination="elsewhere")
        run = renewed.start_run()
        assert wait_for(lambda: server.requests, 30.0)
        assert server.requests[0].headers["Authorization"] == "Bearer first"
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "second")
        run.log_metric("loss", 0.5)
        assert wait_for(
            lambda: server.requests[-1].headers["Authorization"] == "Bearer second", 30.0
        )


def test_what_no_other_process_can_use_is_refused(tmp_path: Path) -> None:
    queued: dict[str, Any] = {
        "delivery": "queued",
        "auto_sync": "process",
        "data_dir": tmp_path / "data",
    }
    refused = r'auto_sync="process" \(HOKUSAI_AUTO_SYNC\): no other process can use backend'
    mock = MockBackend()
    for backend, fallback in (("mock", ""), (mock, "sql"), ("mlflow", "mock")):
        settings = Settings.load(fallback=fallback, **queued)
        with pytest.raises(ConfigurationError, match=refused):
            ExperimentManager("refused", backend=backend, settings=settings)
    direct = Settings.load(**queued | {"delivery": "direct"})
    manager = ExperimentManager("direct", backend=mock, settings=direct)
    assert isinstance(manager.runtime.drainer, BackgroundDrainer), "its loop waits for the server"


def test_it_is_a_value_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, value in (("process", "process"), ("true", True), ("no", False)):
        monkeypatch.setenv("HOKUSAI_AUTO_SYNC", text)
        assert Settings.load().auto_sync == value
    monkeypatch.setenv("HOKUSAI_AUTO_SYNC", "thread")
    with pytest.raises(ConfigurationError, match="HOKUSAI_AUTO_SYNC"):
        Settings.load()


FORKING = """
    import json, os
    from hokusai_core import ExperimentManager

    manager = ExperimentManager("forking", delivery="queued", durability="process")
    drainer = manager.runtime.drainer

    def log(key):
        run.log_metric(key, 1.0)
        primary_id = run.wait(60)
        return {"pid": drainer.pid, "primary": primary_id}

    run = manager.start_run()
    parent = log("before")
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writable, json.dumps(log("child")).encode())
        drainer.stop(10.0)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    after = log("after")
    print(json.dumps([parent, json.loads(os.read(readable, 9999)), after]))
"""


def test_a_forked_child_has_a_process_of_its_own(mlflow_server: MlflowServer) -> None:
    done = programs.run(FORKING, MLFLOW_TRACKING_URI=mlflow_server.url, HOKUSAI_AUTO_SYNC="process")
    before, child, after = json.loads(done.stdout)
    assert before == after
    assert child["primary"] == before["primary"]
    assert child["pid"] not in (before["pid"], None)
    for key in ("before", "child", "after"):
        assert steps_on(mlflow_server, before["primary"], key) == [0]
    assert wait_for(lambda: not alive(before["pid"]))
    assert not alive(child["pid"])


CTRL_C = """
    import signal, time
    from hokusai_core import ExperimentManager

    signal.signal(signal.SIGINT, signal.default_int_handler)
    manager = ExperimentManager("ctrl-c", delivery="queued", durability="process")
    run = manager.start_run()
    while manager.runtime.drainer.pid is None:
        time.sleep(0.01)
    print(manager.runtime.drainer.pid, flush=True)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        time.sleep(60)
"""


def test_ctrl_c_at_the_terminal_is_for_the_job() -> None:
    """A terminal sends it to all processes of the job's group."""
    job = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CTRL_C)],
        env=programs.environment(
            MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port()}", HOKUSAI_AUTO_SYNC="process"
        ),
        stdout=subprocess.PIPE,
        process_group=0,
        text=True,
    )
    try:
        assert job.stdout is not None
        pid = int(job.stdout.readline())
        time.sleep(1.0)
        os.killpg(job.pid, signal.SIGINT)
        assert job.stdout.readline() == "interrupted\n"
        assert alive(pid)
    finally:
        job.kill()
        job.communicate(timeout=10)
    assert wait_for(lambda: not alive(pid), 30.0)
