"""A real server is killed in the middle of a run and of a registration, and comes back.

Two jobs live through the same outage: one goes on and delivers from its background, the other exits
and leaves the delivery to the command. Then the server itself is asked, with a plain client.
"""

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from hokusai_core import ExperimentManager, ModelRegistry, Settings
from hokusai_core.identifiers import is_provisional
from tests.acceptance import programs
from tests.acceptance.conftest import SOON
from tests.support.mlflow_server import MlflowServer
from tests.support.waiting import wait_for

# The budget of one write, and some slack for a busy machine.
SLOWEST_WRITE_SECONDS = 6.0 + 1.5
BASE_TIME = 1_700_000_000_000


class DyingServerModel:
    """A model whose metrics are asked for in the middle of its registration: then the server dies."""

    def __init__(self, model_id: str, server: MlflowServer) -> None:
        self.model_id = model_id
        self.version = "1.0.0"
        self._server = server
        self._asked = 0

    def get_metrics(self) -> dict[str, float]:
        self._asked += 1
        if self._asked == 3:
            # Asked for the entry, for the saved description, and now, after the upload.
            self._server.kill()
        return {"accuracy": 0.75}


class Stopwatch:
    """Makes calls and remembers the slowest."""

    def __init__(self) -> None:
        self.slowest = 0.0
        self.calls = 0

    def __call__(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        began = time.monotonic()
        try:
            return function(*arguments, **options)
        finally:
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.calls += 1


# The job of the other process. It prints a line of JSON, and goes on when it is told to.
OTHER_JOB = """
    import json, sys
    from hokusai_core import ExperimentManager, ModelRegistry

    experiment, model = sys.argv[1:]
    manager = ExperimentManager(ModelRegistry(), experiment_name=experiment)
    run = manager.start_run(run_name="other")
    run.log_metric("loss", 0.0, step=0, timestamp=BASE_TIME)
    print("began", flush=True)
    sys.stdin.readline()
    for step in range(1, 20):
        run.log_metric("loss", step, step=step, timestamp=BASE_TIME + step)
    run.set_tags({"stage": "early"})
    with manager.start_run(run_name="other child", nested=True) as child:
        child.log_params({"depth": 2})
        child.log_text("from the other", "deep/other.txt")
    run.set_tags({"stage": "late"})
    version = manager.registry.register_model(f"runs:/{child.run_id}/deep", model, tags={"by": "other"})
    manager.registry.set_alias(model, "candidate", version.version)
    run.end()
    print(json.dumps({"run": run.run_id, "child": child.run_id, "version": version.version,
                      "end": run.info.end_time, "child_end": child.info.end_time}), flush=True)
"""
COMMAND = """
    import sys
    from hokusai_core.cli import main

    sys.argv[1:] = ["sync", "--json"]
    main()
"""
THIRD_PROCESS = """
    import json, sys
    from hokusai_core import ExperimentManager, ModelRegistry

    manager, registry = ExperimentManager(sys.argv[1]), ModelRegistry()
    model, *ids = sys.argv[2:]
    print(json.dumps([manager.get_run(each).info.run_id for each in ids if "version" not in each]
                     + [registry.get_model_version(model, each).version
                        for each in ids if "version" in each]))
"""


def state_of(client: MlflowClient, experiment: str, model: str, folder: Path) -> dict[str, Any]:
    """Ask the server for all it has of an experiment and a model, with every byte."""
    experiment_id = client.get_experiment_by_name(experiment).experiment_id
    runs = client.search_runs([experiment_id], run_view_type=ViewType.ALL)
    return {
        "runs": {run.info.run_id: run.to_dictionary() for run in runs},
        "points": {
            (run.info.run_id, key): [
                (point.timestamp, point.step, point.value)
                for point in client.get_metric_history(run.info.run_id, key)
            ]
            for run in runs
            for key in run.data.metrics
        },
        "files": {
            run.info.run_id: files_of(client, run.info.run_id, folder / run.info.run_id)
            for run in runs
        },
        "versions": sorted(
            (
                (str(each.version), each.run_id, each.source, tuple(sorted(each.tags.items())))
                for each in client.search_model_versions(f"name='{model}'")
            ),
        ),
        "aliases": {
            alias: str(version)
            for alias, version in client.get_registered_model(model).aliases.items()
        },
    }


def files_of(client: MlflowClient, run_id: str, folder: Path) -> dict[str, bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    if not client.list_artifacts(run_id):
        return {}
    root = Path(client.download_artifacts(run_id, "", str(folder)))
    return {
        str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()
    }


@pytest.fixture
def server(own_mlflow_server: Callable[[], MlflowServer]) -> MlflowServer:
    return own_mlflow_server().start()


@pytest.fixture
def registry(server: MlflowServer, tmp_path: Path) -> Iterator[ModelRegistry]:
    made = ModelRegistry(server.url, settings=Settings.load(data_dir=tmp_path / "living", **SOON))
    yield made
    made.runtime.drainer.stop(10.0)
    made.runtime.close_connections()


def test_two_jobs_survive_the_servers_death(
    server: MlflowServer,
    registry: ModelRegistry,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "hokusai")
    client = MlflowClient(server.url, server.url)
    experiment, model = f"kill {uuid.uuid4().hex[:8]}", f"model {uuid.uuid4().hex[:8]}"
    other_experiment, other_model = f"other {experiment}", f"other {model}"
    variables = {
        "MLFLOW_TRACKING_URI": server.url,
        "HOKUSAI_DATA_DIR": tmp_path / "other",
        "HOKUSAI_AUTO_SYNC": "false",
        "HOKUSAI_LATE_EFFECT_SECONDS": SOON["late_effect_seconds"],
        "HOKUSAI_CIRCUIT_OPEN_SECONDS": SOON["circuit_open_seconds"],
        "HOKUSAI_CIRCUIT_OPEN_MAX_SECONDS": SOON["circuit_open_max_seconds"],
    }
    other_job = OTHER_JOB.replace("BASE_TIME", str(BASE_TIME))
    with programs.running(other_job, other_experiment, other_model, **variables) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "began\n"

        # The job that lives on: in health, through the kill, and in the outage.
        timed = Stopwatch()
        manager = ExperimentManager(registry, experiment_name=experiment)
        run = timed(manager.start_run, run_name="living", tags={"team": "a"})
        timed(run.log_param, "lr", 0.1)
        for step in range(5):
            timed(run.log_metric, "loss", step, step=step, timestamp=BASE_TIME + step)
        timed(run.log_text, "before", "texts/before.txt")
        dying = DyingServerModel(f"{model}/baseline", server)
        baseline = timed(registry.register_baseline, dying, model)
        assert baseline.sync_state == "pending"
        for step in range(5, 40):
            timed(run.log_metric, "loss", step, step=step, timestamp=BASE_TIME + step)
        timed(run.log_params, {"layers": 3, "lr": 0.1})
        timed(run.set_tag, "stage", "early")
        timed(run.set_tag, "stage", "late")
        vanishing = tmp_path / "vanishing.bin"
        vanishing.write_bytes(bytes(range(256)) * 1000)
        timed(run.log_artifact, vanishing, "blobs")
        vanishing.unlink()
        child = timed(manager.start_run, run_name="living child", nested=True)
        timed(child.log_metrics, {"a": 1.5, "b": -2.0}, step=7, timestamp=BASE_TIME)
        timed(child.end)
        second = timed(registry.register_model, f"runs:/{run.run_id}/blobs", model, tags={"n": 2})
        timed(registry.set_alias, model, "production", second.version)
        timed(run.end)
        assert is_provisional(child.run_id)
        assert is_provisional(second.version)
        assert timed.slowest < SLOWEST_WRITE_SECONDS
        assert timed.calls > 50

        # The other job goes through the outage and exits.
        out, err = other.communicate("\n", timeout=60)
    assert other.returncode == 0, err
    theirs = json.loads(out)
    assert err.count("Nothing is lost") == len(err.splitlines()) - 1 == 1, err
    assert "hokusai sync" in err.splitlines()[-1]

    server.start()

    assert wait_for(lambda: registry.runtime.waiting() == 0, 60.0)
    run_id, child_id = run.wait(10), child.wait(10)
    assert run_id == run.run_id
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in warnings] == ["hokusai"], caplog.text
    assert wait_for(lambda: "is back" in caplog.text)

    state = state_of(client, experiment, model, tmp_path / "first")
    assert set(state["runs"]) == {run_id, child_id}
    found = client.get_run(run_id)
    assert (found.info.status, found.info.end_time) == ("FINISHED", run.info.end_time)
    assert found.data.params == {"lr": "0.1", "layers": "3"}
    assert (found.data.tags["team"], found.data.tags["stage"]) == ("a", "late")
    assert state["points"][run_id, "loss"] == [(BASE_TIME + n, n, float(n)) for n in range(40)]
    assert state["files"][run_id] == {
        "texts/before.txt": b"before",
        "blobs/vanishing.bin": bytes(range(256)) * 1000,
    }
    found = client.get_run(child_id)
    assert (found.info.status, found.info.end_time) == ("FINISHED", child.info.end_time)
    assert found.info.start_time == child.info.start_time
    assert found.data.tags["mlflow.parentRunId"] == run_id
    assert state["points"][child_id, "a"] == [(BASE_TIME, 7, 1.5)]
    assert state["points"][child_id, "b"] == [(BASE_TIME, 7, -2.0)]
    by_id = {dict(tags).get("model_id", "second"): n for n, _, _, tags in state["versions"]}
    assert sorted(by_id.values()) == ["1", "2"]
    assert set(by_id) == {dying.model_id, "second"}
    assert state["aliases"] == {"production": by_id["second"]}
    (registration,) = client.search_runs(
        [client.get_experiment_by_name("hokusai_model_registrations").experiment_id],
        run_view_type=ViewType.ALL,
    )
    assert registration.info.status == "FINISHED"
    assert registration.data.metrics == {"accuracy": 0.75}
    loaded = client.get_model_version(model, by_id[dying.model_id])
    assert loaded.run_id == registration.info.run_id
    assert dict(loaded.tags)["is_baseline"] == "true"

    # What the other job left comes by the command, and a second time changes nothing.
    first = json.loads(programs.run(COMMAND, **variables).stdout)
    assert (first["left"], first["dead"], first["complete"]) == (0, 0, True)
    assert first["delivered"] > 20
    other_state = state_of(client, other_experiment, other_model, tmp_path / "second")
    again = json.loads(programs.run(COMMAND, **variables).stdout)
    assert (again["delivered"], again["left"], again["dead"]) == (0, 0, 0)
    registry.runtime.drain().run(wait_seconds=0.0, stop=threading.Event())
    assert state_of(client, other_experiment, other_model, tmp_path / "third") == other_state
    assert state_of(client, experiment, model, tmp_path / "fourth") == state

    ids = (theirs["run"], theirs["child"], theirs["version"])
    for data_dir in (tmp_path / "other", tmp_path / "empty"):
        done = programs.run(
            THIRD_PROCESS,
            other_experiment,
            other_model,
            *ids,
            **(variables | {"HOKUSAI_DATA_DIR": data_dir}),
        )
        their_run, their_child, their_version = json.loads(done.stdout)
        assert (their_run, their_version) == (theirs["run"], "1")
        assert not is_provisional(their_child)
    assert set(other_state["runs"]) == {their_run, their_child}
    points = [(BASE_TIME + n, n, float(n)) for n in range(20)]
    assert other_state["points"] == {(their_run, "loss"): points}
    assert other_state["files"] == {
        their_run: {},
        their_child: {"deep/other.txt": b"from the other"},
    }
    for name, end_time in ((their_run, theirs["end"]), (their_child, theirs["child_end"])):
        found = client.get_run(name)
        assert (found.info.status, found.info.end_time) == ("FINISHED", end_time)
    assert client.get_run(their_run).data.tags["stage"] == "late"
    assert client.get_run(their_child).data.params == {"depth": "2"}
    assert client.get_run(their_child).data.tags["mlflow.parentRunId"] == their_run
    ((_, version_run, source, tags),) = other_state["versions"]
    assert (version_run, dict(tags)["by"]) == (their_child, "other")
    assert source.endswith("/deep")
    assert other_state["aliases"] == {"candidate": "1"}
