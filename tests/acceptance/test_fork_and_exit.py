"""What ends a process or copies it: fork, exit in an outage, Ctrl-C. The records stay right."""

import signal
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

from mlflow import MlflowClient

from hokusai_core.identifiers import OP_ID_TAG, is_provisional
from tests.acceptance import programs
from tests.support.fault_proxy import FaultProxy
from tests.support.mlflow_server import MlflowServer

EXIT_SECONDS = 1.0
SLACK_SECONDS = 12.0
SOON = {
    "HOKUSAI_CIRCUIT_OPEN_SECONDS": 0.1,
    "HOKUSAI_CIRCUIT_OPEN_MAX_SECONDS": 0.3,
    "HOKUSAI_LATE_EFFECT_SECONDS": 0.5,
    "HOKUSAI_EXIT_TIMEOUT": EXIT_SECONDS,
    # A busy machine is no outage.
    "HOKUSAI_CONNECT_TIMEOUT": 5,
    "HOKUSAI_REQUEST_TIMEOUT": 20,
    "HOKUSAI_WRITE_TIMEOUT": 25,
    "HOKUSAI_LEASE_SECONDS": 50,
}

FORK = """
    import os, sys
    from hokusai_core import ExperimentManager

    manager = ExperimentManager(sys.argv[1])
    with manager.start_run(run_name="forked") as run:
        run.log_metric("parent", 1.0, step=0)
        child = os.fork()
        if child == 0:
            with run:
                for step in range(5):
                    run.log_metric("child", step, step=step)
                run.set_tag("child", "was here")
            run.end("FAILED")
            print(run.get().info.status, flush=True)
            os._exit(0)
        for step in range(1, 5):
            run.log_metric("parent", 1.0, step=step)
        assert os.waitpid(child, 0)[1] == 0
        run.log_metric("parent", 1.0, step=5)
    run.wait(30)
    print(run.primary_id, flush=True)
"""


def name() -> str:
    return f"fork and exit {uuid.uuid4().hex[:12]}"


def steps(client: MlflowClient, run_id: str, key: str) -> list[int]:
    return [point.step for point in client.get_metric_history(run_id, key)]


def test_a_fork_in_the_middle_of_a_run(mlflow_server: MlflowServer) -> None:
    """The child logs over connections of its own, and never ends the run."""
    with FaultProxy(mlflow_server.port) as proxy:
        done = programs.run(FORK, name(), MLFLOW_TRACKING_URI=proxy.url, **SOON)
        assert proxy.connections >= 2
    status, run_id = done.stdout.split()
    assert status == "RUNNING"
    client = MlflowClient(mlflow_server.url)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["child"] == "was here"
    assert steps(client, run_id, "parent") == list(range(6))
    assert steps(client, run_id, "child") == list(range(5))


FORK_IN_OUTAGE = """
    import os, sys
    from hokusai_core import ExperimentManager

    manager = ExperimentManager(sys.argv[1])
    with manager.start_run(run_name="forked") as run:
        run.log_metric("parent", 1.0, step=0)
        child = os.fork()
        if child == 0:
            for step in range(5):
                run.log_metric("child", step, step=step)
            os._exit(0)
        for step in range(1, 5):
            run.log_metric("parent", 1.0, step=step)
        assert os.waitpid(child, 0)[1] == 0
    print(run.run_id, flush=True)
    sys.stdin.readline()
    print(run.wait(60), flush=True)
"""


def test_a_fork_in_an_outage_shares_the_journal(mlflow_server: MlflowServer) -> None:
    with FaultProxy(mlflow_server.port, mode="refuse") as proxy:
        with programs.running(
            FORK_IN_OUTAGE, name(), MLFLOW_TRACKING_URI=proxy.url, **SOON
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            assert is_provisional(process.stdout.readline().strip())
            proxy.mode = "pass"
            print(file=process.stdin, flush=True)
            out, err = process.communicate(timeout=90)
        assert process.returncode == 0, err
    client = MlflowClient(mlflow_server.url)
    assert client.get_run(out.strip()).info.status == "FINISHED"
    assert steps(client, out.strip(), "parent") == list(range(5))
    assert steps(client, out.strip(), "child") == list(range(5))


EXIT = """
    import sys, time
    from hokusai_core import ExperimentManager

    with ExperimentManager(sys.argv[1]).start_run(run_name="left behind") as run:
        for step in range(3):
            run.log_metric("loss", step, step=step)
        run.log_text("text", "a.txt")
    print(run.run_id, time.monotonic(), flush=True)
"""


def test_exit_in_an_outage_is_quick_and_tells_once_what_is_left(
    mlflow_server: MlflowServer,
) -> None:
    experiment = name()
    with FaultProxy(mlflow_server.port, mode="refuse") as proxy:
        variables = SOON | {"MLFLOW_TRACKING_URI": proxy.url}
        done = programs.run(EXIT, experiment, to_the_end=True, **variables)
        ended = time.monotonic()
        run_id, last_line = done.stdout.split()
        assert ended - float(last_line) < EXIT_SECONDS + SLACK_SECONDS
        outage, left = done.stderr.splitlines()
        assert "Nothing is lost" in outage
        # Experiment, run, three metrics, a text, and the end of the run.
        assert "7 operations for" in left
        assert "hokusai sync" in left
        assert proxy.url.partition("//")[2] in left

        proxy.mode = "pass"
        other = """
            import sys
            from hokusai_core import ExperimentManager

            manager = ExperimentManager("another " + sys.argv[1])
            print(manager.start_run(sys.argv[2]).wait(60))  # attaching to it opens the journal
        """
        done = programs.run(other, experiment, run_id, **variables)
        (notice,) = done.stderr.splitlines()
        assert "wait behind earlier ones" in notice
        assert "Nothing is lost" in notice
    client = MlflowClient(mlflow_server.url)
    primary_id = done.stdout.strip()
    run = client.get_run(primary_id)
    assert run.info.run_name == "left behind"
    assert run.data.tags[OP_ID_TAG]
    assert steps(client, primary_id, "loss") == [0, 1, 2]
    experiment_id = client.get_experiment_by_name(experiment).experiment_id
    assert len(client.search_runs([experiment_id])) == 1


def test_exit_in_a_black_hole_is_bounded_too() -> None:
    """The drainer's request is under way when the process ends."""
    with FaultProxy(mode="black_hole") as proxy:
        done = programs.run(
            EXIT,
            name(),
            to_the_end=True,
            MLFLOW_TRACKING_URI=proxy.url,
            **(SOON | {"HOKUSAI_REQUEST_TIMEOUT": 1}),
        )
        ended = time.monotonic()
    assert ended - float(done.stdout.split()[1]) < EXIT_SECONDS + SLACK_SECONDS
    assert len(done.stderr.splitlines()) == 2
    assert "7 operations" in done.stderr


INTERRUPTED = """
    import signal, sys
    from hokusai_core import ExperimentManager

    # Who starts the tests in the background may have it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with ExperimentManager(sys.argv[1]).start_run(run_name="interrupted") as run:
        print(run.run_id, flush=True)
        for step in range(100_000):
            run.log_metric("loss", step, step=step)
            if step == 20:
                print("in the loop", flush=True)
"""


def test_ctrl_c_in_an_outage_fails_the_run_and_keeps_what_was_logged(
    mlflow_server: MlflowServer,
) -> None:
    experiment = name()
    with FaultProxy(mlflow_server.port, mode="refuse") as proxy:
        variables = SOON | {"MLFLOW_TRACKING_URI": proxy.url}
        # An interpreter of its own: how it ends after Ctrl-C is the interpreter's doing.
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(INTERRUPTED), experiment],
            env=programs.environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert is_provisional(process.stdout.readline().strip())
            assert process.stdout.readline() == "in the loop\n"
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
        assert process.returncode == -signal.SIGINT
        assert "KeyboardInterrupt" in err
        assert "Not delivered yet" in err
        proxy.mode = "pass"
        sync = """
            import sys
            from hokusai_core.cli import main

            sys.argv[1:] = ["sync"]
            main()
        """
        programs.run(sync, **variables)
    client = MlflowClient(mlflow_server.url)
    experiment_id = client.get_experiment_by_name(experiment).experiment_id
    (run,) = client.search_runs([experiment_id])
    assert run.info.status == "FAILED"
    logged = steps(client, run.info.run_id, "loss")
    assert len(logged) > 20
    assert logged == list(range(len(logged)))


def test_ctrl_c_in_health_fails_the_run(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    variables = SOON | {"MLFLOW_TRACKING_URI": mlflow_server.url}
    with programs.running(INTERRUPTED, name(), to_the_end=True, **variables) as process:
        assert process.stdout is not None
        run_id = process.stdout.readline().strip()
        assert process.stdout.readline() == "in the loop\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    client = MlflowClient(mlflow_server.url)
    assert client.get_run(run_id).info.status == "FAILED"
    logged = steps(client, run_id, "loss")
    assert logged == list(range(len(logged)))
    assert not (tmp_path / "data").exists()
