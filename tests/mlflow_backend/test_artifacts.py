"""Artifacts and logged models on a real server."""

import io
import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hokusai_core.backends import OpenBackend
from hokusai_core.clock import Deadline
from hokusai_core.errors import (
    InvalidInputError,
    JournalUnavailableError,
    NotFoundError,
    UnavailableError,
)
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.operations import (
    ArtifactOwner,
    CreateLoggedModel,
    CreateModelVersion,
    CreateRegisteredModel,
    FinalizeLoggedModel,
    LogArtifact,
    LogBatch,
    MetricPoint,
)
from tests.mlflow_backend.conftest import make_experiment, make_run, opened, soon, unique
from tests.support.fault_proxy import FaultProxy
from tests.support.mlflow_server import MlflowServer


class Unseekable(io.RawIOBase):
    """A stream such as a database gives: it is read once."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._data.readinto(buffer)


def artifact(run_id: str, path: str, size: int, **fields: object) -> LogArtifact:
    values = {
        "run_id": run_id,
        "owner": ArtifactOwner(kind="run", id=run_id),
        "path": path,
        "size": size,
        "sha256": "0" * 64,
    }
    return LogArtifact.model_validate(values | fields)


@pytest.fixture
def run_id(backend: OpenBackend) -> str:
    return make_run(backend, make_experiment(backend))


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("plain.txt", b"hello"),
        ("empty", b""),
        ("a folder/b c/ünï.bin", bytes(range(256)) * 20_000),
        ("100 %.txt", b"%"),
        ("a?b;c & d=é+~:|.txt", b"?"),
        ("模" * 85, b"255 bytes"),
    ],
)
@pytest.mark.parametrize("stream", [io.BytesIO, Unseekable])
def test_a_file_comes_back_as_it_went(
    backend: OpenBackend, run_id: str, tmp_path: Path, path: str, data: bytes, stream: type
) -> None:
    owner = ArtifactOwner(kind="run", id=run_id)
    operation = artifact(run_id, path, len(data))
    backend.write(operation, soon(), lambda: io.BytesIO(b"older"))
    backend.write(operation, soon(), lambda: stream(data))
    target = tmp_path / "deep" / "file"
    assert backend.tracking.tracking_download_artifact(owner, path, target, soon()) == target
    assert target.read_bytes() == data
    assert list(target.parent.iterdir()) == [target]
    folder, _, _ = path.rpartition("/")
    (entry,) = backend.tracking.tracking_list_artifacts(owner, folder, soon())
    assert (entry.path, entry.is_dir, entry.file_size) == (path, False, len(data))


def test_a_failure_of_the_content_is_not_the_servers(backend: OpenBackend, run_id: str) -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, _: object) -> int:
            raise JournalUnavailableError("the journal is away")

    with pytest.raises(JournalUnavailableError):
        backend.write(artifact(run_id, "f", 5), soon(), Broken)
    with pytest.raises(UnavailableError):
        backend.write(artifact(run_id, "f", 5), soon(), lambda: Unseekable(b"shor"))


def test_listing_a_file_or_nothing_gives_nothing(backend: OpenBackend, run_id: str) -> None:
    backend.write(artifact(run_id, "a/file", 1), soon(), lambda: io.BytesIO(b"x"))
    owner = ArtifactOwner(kind="run", id=run_id)
    (folder,) = backend.tracking.tracking_list_artifacts(owner, "", soon())
    assert (folder.path, folder.is_dir) == ("a", True)
    assert backend.tracking.tracking_list_artifacts(owner, "a/file", soon()) == ()
    assert backend.tracking.tracking_list_artifacts(owner, "none", soon()) == ()


def test_what_is_missing_is_not_found(backend: OpenBackend, run_id: str, tmp_path: Path) -> None:
    owner = ArtifactOwner(kind="run", id=run_id)
    with pytest.raises(NotFoundError):
        backend.tracking.tracking_download_artifact(owner, "none", tmp_path / "file", soon())
    assert list(tmp_path.iterdir()) == []
    missing = ArtifactOwner(kind="model", id="m-none")
    with pytest.raises(NotFoundError):
        backend.tracking.tracking_list_artifacts(missing, "", soon())
    with pytest.raises(InvalidInputError):
        backend.tracking.tracking_download_artifact(owner, "../x", tmp_path / "file", soon())


def test_a_transfer_is_bounded_by_its_progress(
    backend: OpenBackend, mlflow_server: MlflowServer, run_id: str, tmp_path: Path
) -> None:
    backend.write(artifact(run_id, "file", 5), soon(), lambda: io.BytesIO(b"hello"))
    owner = ArtifactOwner(kind="run", id=run_id)
    with FaultProxy(mlflow_server.port) as proxy:
        slow = opened(proxy.url, request_timeout=20)
        slow.tracking.tracking_list_artifacts(owner, "", soon())
        for mode in ("hold_answer", "black_hole", "cut_body"):
            proxy.mode = mode
            with pytest.raises(UnavailableError) as refusal:
                slow.tracking.tracking_download_artifact(
                    owner, "file", tmp_path / "file", Deadline(0.5)
                )
            assert refusal.value.maybe_applied
            if mode != "cut_body":  # MLflow's answer to an upload has no body
                with pytest.raises(UnavailableError):
                    slow.write(
                        artifact(run_id, "file", 5), Deadline(0.5), lambda: io.BytesIO(b"hello")
                    )
            assert not (tmp_path / "file").exists()


def test_a_logged_model_is_whole_for_a_plain_client(
    backend: OpenBackend, mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    experiment_id = make_experiment(backend)
    run_id = make_run(backend, experiment_id)
    points = (
        MetricPoint(key="loss", value=0.5, timestamp=10, step=1),
        MetricPoint(key="loss", value=0.25, timestamp=20, step=2),
    )
    backend.write(LogBatch(run_id=run_id, metrics=points), soon())
    creation = CreateLoggedModel(
        run_id=run_id,
        experiment_id=experiment_id,
        name="model",
        tags={"a": "b"},
        params={"depth": "3"},
    )
    model_id = backend.write(creation, soon()).primary_id
    owner = ArtifactOwner(kind="model", id=model_id)
    file = artifact(run_id, "MLmodel", 3, owner=owner, rewrites_ids=True)
    backend.write(file, soon(), lambda: io.BytesIO(b"longer than was said"))
    for _ in range(2):
        backend.write(FinalizeLoggedModel(run_id=run_id, model_id=model_id), soon())

    model = backend.tracking.tracking_get_logged_model(model_id, soon())
    assert (model.status, model.source_run_id, model.tags["a"]) == ("READY", run_id, "b")
    assert model.tags[OP_ID_TAG] == creation.op_id
    assert backend.tracking.tracking_find_logged_models(creation, soon()) == (model,)
    assert backend.tracking.tracking_find_by_op_id(creation.op_id, soon()) == (model_id,)

    client = MlflowClient(mlflow_server.url)
    outputs = client.get_run(run_id).outputs.model_outputs
    assert [output.model_id for output in outputs] == [model_id]
    assert [metric.value for metric in client.get_logged_model(model_id).metrics] == [0.25]
    history = backend.tracking.tracking_get_metric_history(run_id, "loss", soon())
    assert history == points

    name = unique("model")
    backend.write(CreateRegisteredModel(name=name), soon())
    version = CreateModelVersion(
        name=name, source=f"models:/{model_id}", run_id=run_id, model_id=model_id
    )
    number = backend.write(version, soon()).primary_id
    assert backend.registry.registry_get_model_version(name, number, soon()).model_id == model_id
    folder = backend.registry.registry_download_model(name, number, tmp_path / "m", soon())
    assert (folder / "MLmodel").read_bytes() == b"longer than was said"


@pytest.mark.parametrize("model_id", ["m-none", "../x", "a/b", ""])
def test_a_missing_logged_model_is_not_found(backend: OpenBackend, model_id: str) -> None:
    with pytest.raises(NotFoundError):
        backend.tracking.tracking_get_logged_model(model_id, soon())


def test_several_threads_write_at_once(backend: OpenBackend, run_id: str) -> None:
    def write(number: int) -> None:
        backend.write(artifact(run_id, f"f{number}", 4), soon(), lambda: io.BytesIO(b"data"))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    owner = ArtifactOwner(kind="run", id=run_id)
    assert len(backend.tracking.tracking_list_artifacts(owner, "", soon())) == 8
