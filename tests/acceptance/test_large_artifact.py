"""A large file goes through an outage in constant memory, and holds up no other write."""

import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import func, select

from hokusai_backend_sql.content import chunks, contents
from hokusai_backend_sql.engine import Database
from hokusai_core import ExperimentManager, RunHandle
from tests.acceptance.conftest import MakeManager
from tests.support.mlflow_server import MlflowServer
from tests.support.tcp_gate import TcpGate
from tests.support.waiting import wait_for

MEBIBYTE = 1024 * 1024
SLOWEST_WRITE_SECONDS = 6.0 + 1.5
"""The budget of one write, and some slack for a busy machine."""


@dataclass
class Outage:
    """A server that can be away."""

    url: str
    artifacts: Path
    begin: Callable[[], None]
    end: Callable[[], object]


@pytest.fixture
def shut_gate(mlflow_server: MlflowServer) -> Iterator[Outage]:
    """The shared server, behind a gate that is shut."""
    with TcpGate("127.0.0.1", mlflow_server.port) as gate:
        yield Outage(
            f"http://127.0.0.1:{gate.port}",
            mlflow_server.folder / "artifacts",
            gate.shut,
            gate.open,
        )


@pytest.fixture
def killed_server(own_mlflow_server: Callable[[], MlflowServer]) -> Outage:
    """A server that is killed and started again."""
    server = own_mlflow_server().start()
    return Outage(server.url, server.folder / "artifacts", server.kill, server.start)


def test_64_mebibytes(shut_gate: Outage, make_manager: MakeManager, tmp_path: Path) -> None:
    """The quick form."""
    grown = through_an_outage(shut_gate, make_manager, tmp_path, mebibytes=64)
    assert grown < 40 * MEBIBYTE


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_gibibyte(
    killed_server: Outage,
    make_manager: MakeManager,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    began = time.monotonic()
    grown = through_an_outage(killed_server, make_manager, tmp_path, mebibytes=1024)
    with capsys.disabled():
        print(
            f"\n1 GiB: memory grew by {grown / MEBIBYTE:.0f} MiB, {time.monotonic() - began:.0f} s"
        )
    assert grown < 150 * MEBIBYTE


def through_an_outage(
    outage: Outage, make_manager: MakeManager, tmp_path: Path, mebibytes: int
) -> int:
    """Log a file while the server is away, and see it arrive; gives this process's growth, in bytes."""
    large, digest = write_file(tmp_path / "large.bin", mebibytes)
    manager = make_manager(f"large {uuid.uuid4().hex[:8]}", outage.url)
    run = manager.start_run()
    outage.begin()
    run.log_text("this brings in all that the first write in an outage needs", "small.txt")
    before = reset_peak()

    other = manager.start_run(nested=True)
    with Metrics(other) as metrics:
        run.log_artifact(large, "blobs")
        assert wait_for(lambda: metrics.slowest > 0.0)
    large.unlink()
    assert metrics.slowest < SLOWEST_WRITE_SECONDS
    assert stored(manager) == (2, mebibytes * MEBIBYTE)
    run.end()
    other.end()

    outage.end()
    primary_id = run.wait(300.0)
    grown = peak() - before
    (file,) = outage.artifacts.rglob(f"{primary_id}/artifacts/blobs/large.bin")
    assert digest_of(file) == digest
    points = MlflowClient(outage.url).get_metric_history(other.wait(60.0), "loss")
    assert sorted(point.step for point in points) == list(range(metrics.count))
    assert manager.runtime.waiting() == 0
    assert stored(manager) == (0, 0)
    file.unlink()
    return grown


class Metrics:
    """Logs metrics from another thread, and knows the slowest call."""

    def __init__(self, run: RunHandle) -> None:
        self.count = 0
        self.slowest = 0.0
        self.error: BaseException | None = None
        self._run = run
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._log)

    def __enter__(self) -> "Metrics":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _log(self) -> None:
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                self._run.log_metric("loss", self.count, step=self.count)
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.count += 1
                self._stop.wait(0.02)
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            self.error = error


def write_file(path: Path, mebibytes: int) -> tuple[Path, str]:
    """Write a file, no two parts of it alike, and give its SHA-256."""
    digest = hashlib.sha256()
    pattern = hashlib.shake_256(b"large").digest(MEBIBYTE - 8)
    with path.open("wb") as file:
        for number in range(mebibytes):
            part = number.to_bytes(8, "big") + pattern
            digest.update(part)
            file.write(part)
    return path, digest.hexdigest()


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stored(manager: ExperimentManager) -> tuple[int, int]:
    """Count the files whose bytes the journal holds, and the bytes (of the small file: none)."""
    settings = manager.runtime.settings
    database = Database(f"sqlite:///{settings.data_dir / 'hokusai.db'}", settings)
    try:
        with database.begin() as connection:
            files = connection.execute(select(func.count()).select_from(contents)).scalar_one()
            sizes = select(func.coalesce(func.sum(func.length(chunks.c.data)), 0))
            held = connection.execute(sizes).scalar_one()
    finally:
        database.close()
    return files, held // MEBIBYTE * MEBIBYTE


def reset_peak() -> int:
    """Forget the peak of this process's resident memory, and give what it is now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """Give the peak of this process's resident memory since then, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
