"""Fixtures: the SQL backend as a primary, on every database."""

import io
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from hokusai_backend_sql.engine import Database
from hokusai_core.backends import OpenBackend, open_backend
from hokusai_core.clock import Deadline
from hokusai_core.entities import Receipt, Run
from hokusai_core.operations import (
    ArtifactOwner,
    CreateExperiment,
    CreateModelVersion,
    CreateRegisteredModel,
    CreateRun,
    LogArtifact,
    Operation,
)
from hokusai_core.plugins import BackendConfig
from hokusai_core.settings import Settings


class Primary:
    """The opened backend, with short ways to what every test needs."""

    def __init__(self, backend: OpenBackend) -> None:
        self.backend = backend
        self.database: Database = backend.implementation._database
        self.tracking = self.backend.tracking
        self.registry = self.backend.registry

    @property
    def deadline(self) -> Deadline:
        return Deadline(30)

    def write(self, operation: Operation, content: bytes | None = None) -> Receipt:
        opener = None if content is None else lambda: io.BytesIO(content)
        return self.backend.write(operation, self.deadline, opener)

    def experiment(self, name: str = "experiment") -> str:
        return self.write(CreateExperiment(name=name)).primary_id

    def run(self, **fields: object) -> str:
        values = {"run_name": "first", "start_time": 1000} | fields
        experiment_id = values.pop("experiment_id", None) or self.experiment()
        return self.write(CreateRun(experiment_id=experiment_id, **values)).primary_id

    def get_run(self, run_id: str) -> Run:
        return self.tracking.tracking_get_run(run_id, self.deadline)

    def file(self, run_id: str, path: str, content: bytes, owner: ArtifactOwner | None = None):
        operation = LogArtifact(
            run_id=run_id,
            owner=owner or ArtifactOwner(kind="run", id=run_id),
            path=path,
            size=len(content),
            sha256="0" * 64,
        )
        return self.write(operation, content)

    def version(self, name: str = "model", source: str = "s3://bucket/model", **fields: object):
        self.write(CreateRegisteredModel(name=name))
        return self.write(CreateModelVersion(name=name, source=source, **fields)).primary_id

    def unknown_id(self) -> str:
        return uuid.uuid4().hex


@pytest.fixture
def primary(database_url: str, tmp_path: Path) -> Iterator[Primary]:
    settings = Settings.load(database_url=database_url, data_dir=tmp_path)
    opened = Primary(open_backend("sql", BackendConfig(settings=settings, role="primary")))
    yield opened
    opened.database.close()
