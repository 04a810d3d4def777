"""A backup that is made under load is restored elsewhere, and counted."""

import hashlib
import os
import shutil
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from mlflow import MlflowClient
from sqlalchemy.engine import URL

from hokusai_core import ExperimentManager, ModelRegistry, Settings
from tests.high_availability.cluster import EXAMPLES, Cluster, MlflowServer, clean_environment
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.high_availability, pytest.mark.timeout(300)]

MODEL = "backed up"
VERSIONS_BEFORE = 5
FILE_BYTES = 200_000


class Registrations:
    """Registers version after version of a model, each with a file that its tag describes."""

    def __init__(self, url: str, folder: Path) -> None:
        settings = Settings.load(data_dir=folder)
        self._registry = ModelRegistry(url, settings=settings)
        self._manager = ExperimentManager(self._registry, experiment_name=MODEL)
        self._stop = threading.Event()
        self.count = 0
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)
        self._manager.runtime.drainer.stop(10.0)
        self._manager.runtime.close_connections()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._register(uuid.uuid4().hex)
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.error = error

    def _register(self, name: str) -> None:
        text = name * (FILE_BYTES // len(name))
        digest = hashlib.sha256(text.encode()).hexdigest()
        with self._manager.start_run(run_name=name) as run:
            run.log_metrics({"loss": 0.5, "accuracy": 0.75}, step=1)
            run.log_params({"name": name})
            run.log_text(text, "model/weights.txt")
        self._registry.register_model(
            f"runs:/{run.run_id}/model", MODEL, tags={"sha256": digest, "run": name}
        )
        self.count += 1


@pytest.fixture
def registrations(cluster: Cluster, tmp_path: Path) -> Iterator[Registrations]:
    made = Registrations(cluster.url, tmp_path / "registering")
    yield made
    made.stop()


def run(
    program: str, *arguments: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(EXAMPLES / program), *map(str, arguments)],
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def rows_of(database: URL) -> dict[str, int]:
    """Count the rows of every table."""
    plain = database.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection:
        names = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        counts = {}
        for (name,) in names:
            query = psycopg.sql.SQL("SELECT count(*) FROM {}").format(psycopg.sql.Identifier(name))
            counts[name] = connection.execute(query).fetchone()[0]  # type: ignore[index]
    return counts


def files_of(folder: Path) -> dict[str, str]:
    """Give the SHA-256 of every file."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


def versions_of(client: MlflowClient) -> list[Any]:
    return list(client.search_model_versions(f"name='{MODEL}'", max_results=10_000))


def backup_of(cluster: Cluster, folder: Path) -> Path:
    done = run(
        "backup", cluster.artifacts, folder, environment=cluster.postgres.variables("mlflow")
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def test_backup_and_restore(cluster: Cluster, registrations: Registrations, tmp_path: Path) -> None:
    assert wait_for(lambda: registrations.error or registrations.count >= VERSIONS_BEFORE, 60.0)
    before = registrations.count
    backup = backup_of(cluster, tmp_path / "backups")
    after = registrations.count
    assert wait_for(lambda: registrations.error or registrations.count > after, 60.0)
    registrations.stop()
    assert registrations.error is None

    restored = cluster.postgres.create_database("restored")
    variables = cluster.postgres.variables("restored")
    artifacts = tmp_path / "restored-artifacts"
    done = run("restore", backup, artifacts, environment=variables)
    assert done.returncode == 0, done.stderr

    # A second time it would mix two states: it refuses, and changes nothing.
    again = run("restore", backup, artifacts, environment=variables)
    assert (again.returncode, "not empty" in again.stderr) == (2, True)
    again = run("restore", backup, tmp_path / "elsewhere", environment=variables)
    assert (again.returncode, "tables already" in again.stderr) == (2, True)
    assert not any((tmp_path / "elsewhere").iterdir())

    server = MlflowServer(tmp_path / "restored", restored, artifacts)
    try:
        server.start()
        client = MlflowClient(server.url, server.url)
        versions = versions_of(client)
        assert before <= len(versions) <= after + 1
        for version in versions:
            folder = tmp_path / "loaded" / version.version
            folder.mkdir(parents=True)
            file = Path(client.download_artifacts(version.run_id, "model/weights.txt", str(folder)))
            assert hashlib.sha256(file.read_bytes()).hexdigest() == version.tags["sha256"]
            found = client.get_run(version.run_id)
            assert found.info.run_name == version.tags["run"]
            assert found.data.metrics == {"loss": 0.5, "accuracy": 0.75}
            assert found.data.params == {"name": version.tags["run"]}
    finally:
        server.end()


def test_a_backup_at_rest_is_complete(cluster: Cluster, tmp_path: Path) -> None:
    """Every row of every table, and every byte of every file."""
    backup = backup_of(cluster, tmp_path / "backups")
    restored = cluster.postgres.create_database("restored-at-rest")
    artifacts = tmp_path / "artifacts"
    variables = cluster.postgres.variables("restored-at-rest")
    done = run("restore", backup, artifacts, environment=variables)
    assert done.returncode == 0, done.stderr
    rows = rows_of(cluster.postgres.url.set(database="mlflow"))
    assert rows["runs"] > 0
    assert rows_of(restored) == rows
    assert files_of(artifacts) == files_of(cluster.artifacts)


def test_a_damaged_backup_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    backup = backup_of(cluster, tmp_path / "backups")
    with (backup / "mlflow.dump").open("r+b") as dump:
        dump.seek(-1, os.SEEK_END)
        dump.write(b"?")
    cluster.postgres.create_database("damaged")
    variables = cluster.postgres.variables("damaged")
    done = run("restore", backup, tmp_path / "artifacts", environment=variables)
    assert done.returncode != 0
    assert "mlflow.dump" in done.stdout + done.stderr
    assert not (tmp_path / "artifacts").exists()


def test_a_backup_that_fails_leaves_nothing(cluster: Cluster, tmp_path: Path) -> None:
    variables = cluster.postgres.variables("there is no such database")
    done = run("backup", cluster.artifacts, tmp_path / "backups", environment=variables)
    assert done.returncode != 0
    assert list((tmp_path / "backups").iterdir()) == []
    shutil.rmtree(tmp_path / "backups")
