"""One of everything, written while the server is away, and counted on the server afterwards."""

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import ViewType

from hokusai_core import ExperimentManager, ModelRegistry, Settings
from hokusai_core.entities import Metric
from hokusai_core.journal import EntryQuery
from hokusai_core.run_handle import RunHandle
from tests.support.ports import free_port

POINTS = 1200
"""More than one request takes."""
ARTIFACT_BYTES = 5 * 1024 * 1024 + 17
_MODEL = "flavors:\n  python_function:\n    loader_module: nowhere\nmodel_uuid: fixed\n"


def unique(prefix: str) -> str:
    """A name that no other test uses."""
    return f"{prefix} {uuid.uuid4().hex[:12]}"


def destination_settings(folder: Path, database_url: str | None = None) -> dict[str, Any]:
    """The settings that the processes of one test have in common.

    The identity of the server is set, so that a process writes to a port that refuses, and another
    one delivers to the server.
    """
    settings: dict[str, Any] = {
        "data_dir": folder,
        "destination": unique("destination"),
        "auto_sync": False,
        "connect_timeout": 5.0,
        "request_timeout": 20.0,
        "write_timeout": 20.0,
        "lease_seconds": 40.0,
        "sync_threads": 1,
        "journal_timeout": 10.0,
    }
    return settings | ({"database_url": database_url} if database_url else {})


def nobody_there() -> str:
    """An address that refuses connections."""
    return f"http://127.0.0.1:{free_port()}"


@dataclass
class Workload:
    """What was written, to be compared with what the server has."""

    experiment: str = field(default_factory=lambda: unique("experiment"))
    model: str = field(default_factory=lambda: unique("model"))
    run_ids: list[str] = field(default_factory=list)
    points: list[tuple[int, int, float]] = field(default_factory=list)
    operations: int = 0
    artifact: bytes = b""

    def write(self, settings: dict[str, Any], folder: Path) -> None:
        """Queue everything."""
        registry = ModelRegistry(nobody_there(), settings=Settings.load(**settings))
        manager = ExperimentManager(registry, experiment_name=self.experiment)
        with manager.start_run(run_name="parent", tags={"first": "tag"}) as run:
            self._log(run, folder)
            with manager.start_run(run_name="child", nested=True) as child:
                child.log_metric("loss", 0.25, step=1, timestamp=1_000)
        self.run_ids = [run.run_id, child.run_id]
        (version,) = registry.search_model_versions(self.model)
        registry.set_model_version_tags(self.model, version.version, {"stage": "old"})
        registry.set_model_version_tags(self.model, version.version, {"stage": "new"})
        registry.set_alias(self.model, "champion", version.version, force=True)
        assert manager.runtime.fallback is not None
        self.operations = len(manager.runtime.fallback.read(EntryQuery()))
        manager.runtime.close_connections()

    def _log(self, run: RunHandle, folder: Path) -> None:
        for start in range(0, POINTS, 300):
            points = [(1_000_000 + step, step, step / 7) for step in range(start, start + 300)]
            run.log_batch(
                [
                    Metric(key="loss", value=value, timestamp=timestamp, step=step)
                    for timestamp, step, value in points
                ],
                params={f"param{start}": start},
                tags={"last": str(start)},
            )
            self.points += points
        run.log_param("lr", 0.1)
        for number in range(5):
            run.set_tag("last", number)
        self.artifact = bytes(range(251)) * (ARTIFACT_BYTES // 251)
        file = folder / "large.bin"
        file.write_bytes(self.artifact)
        run.log_artifact(file, "files")
        run.log_text("small", "files/small.txt")
        model = folder / "saved-model"
        model.mkdir()
        (model / "MLmodel").write_text(_MODEL)
        (model / "weights.bin").write_bytes(b"weights")
        run.log_model(model, "model", registered_model_name=self.model)

    def check(self, server_url: str, settings: dict[str, Any], folder: Path) -> None:
        """Compare server and journal with what was written."""
        client = MlflowClient(server_url)
        self._check_runs(client, folder)
        self._check_model(client)
        self._check_journal(settings, server_url)

    def _check_runs(self, client: MlflowClient, folder: Path) -> None:
        experiment = client.get_experiment_by_name(self.experiment)
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)
        assert sorted(run.info.run_name for run in runs) == ["child", "parent"]
        parent, child = sorted(runs, key=lambda run: run.info.run_name != "parent")
        assert {run.info.status for run in runs} == {"FINISHED"}
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert parent.data.tags["first"] == "tag"
        assert parent.data.tags["last"] == "4"
        assert parent.data.params == {"lr": "0.1"} | {
            f"param{start}": str(start) for start in range(0, POINTS, 300)
        }
        history = client.get_metric_history(parent.info.run_id, "loss")
        assert sorted((each.timestamp, each.step, each.value) for each in history) == self.points
        (point,) = client.get_metric_history(child.info.run_id, "loss")
        assert (point.timestamp, point.step, point.value) == (1_000, 1, 0.25)
        target = folder / "downloaded"
        target.mkdir()
        client.download_artifacts(parent.info.run_id, "files", str(target))
        assert (target / "files" / "large.bin").read_bytes() == self.artifact
        assert (target / "files" / "small.txt").read_text() == "small"
        models = client.search_logged_models([experiment.experiment_id])
        assert [(model.name, str(model.status)) for model in models] == [("model", "READY")]
        outputs = client.get_run(parent.info.run_id).outputs.model_outputs
        assert [output.model_id for output in outputs] == [models[0].model_id]

    def _check_model(self, client: MlflowClient) -> None:
        (version,) = client.search_model_versions(f"name = '{self.model}'")
        assert version.version in (1, "1")
        assert version.tags["stage"] == "new"
        assert client.get_registered_model(self.model).aliases == {"champion": "1"}

    def _check_journal(self, settings: dict[str, Any], server_url: str) -> None:
        registry = ModelRegistry(server_url, settings=Settings.load(**settings))
        runtime = registry.runtime
        assert runtime.fallback is not None
        journal, spool = runtime.fallback.backlog(runtime.destination)
        assert journal is not None
        assert (journal.waiting, journal.dead) == (0, 0)
        assert spool is None or (spool.waiting, spool.dead) == (0, 0)
        entries = runtime.fallback.journal.journal_read(EntryQuery(states=("delivered",)))
        assert len(entries) == len({entry.op_id for entry in entries}) == self.operations
        mapped = runtime.fallback.resolve(tuple(self.run_ids))
        assert set(mapped) == set(self.run_ids)
        runtime.close_connections()
