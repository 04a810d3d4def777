"""The mock backend: a tracking server and registry in memory, for tests."""

import io
from pathlib import Path

from hokusai_core.addresses import without_credentials
from hokusai_core.clock import Deadline
from hokusai_core.entities import (
    BackendHealth,
    Experiment,
    FileInfo,
    LoggedModel,
    Metric,
    ModelVersion,
    Page,
    Receipt,
    RegisteredModel,
    Run,
)
from hokusai_core.errors import NotFoundError
from hokusai_core.hookspecs import OpenContent
from hokusai_core.identifiers import new_op_id
from hokusai_core.markers import hookimpl
from hokusai_core.memory import MemoryStore
from hokusai_core.operations import (
    ArtifactOwner,
    CreateExperiment,
    CreateLoggedModel,
    CreateModelVersion,
    CreateRegisteredModel,
    CreateRun,
    DeleteAlias,
    DeleteModelVersion,
    FinalizeLoggedModel,
    LogArtifact,
    LogBatch,
    Operation,
    SetAlias,
    SetModelVersionTags,
    SetRegisteredModelTags,
    UpdateRun,
)
from hokusai_core.plugins import BackendPlugin, Capability
from hokusai_core.queries import ModelQuery, RunQuery, VersionQuery
from hokusai_core.testing.failure_script import FailureScript
from hokusai_core.testing.memory_journal import MemoryJournal

MOCK_CAPABILITIES: frozenset[Capability] = frozenset(
    {"tracking", "registry", "journal", "artifacts", "logged_models"}
)
"""What the mock backend can do; as a journal it is a
:class:`~hokusai_core.testing.memory_journal.MemoryJournal`."""


class MockBackend(FailureScript):
    """A primary in memory, with MLflow's semantics and failures on command. Thread-safe.

    Use it in tests in the place of a server; it lives as long as the object::

        mock = MockBackend()
        manager = ExperimentManager("my_experiment", backend=mock)
        mock.down()     # an outage, until mock.up()
        mock.store      # what has arrived

    The ways of failing are the methods of
    :class:`~hokusai_core.testing.failure_script.FailureScript`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        """What has arrived, with reads for assertions and deletions as by somebody else."""
        self.destination = f"mock:{new_op_id()}"
        """Identity of this mock, different from that of every other."""
        self.journal = MemoryJournal()
        """Where writes wait while the mock is down, unless the user names another fallback."""
        self.plugin = BackendPlugin(
            name="mock",
            capabilities=MOCK_CAPABILITIES,
            open=lambda config: self if config.role == "primary" else self.journal,
            destination=lambda _config: self.destination,
            own_journal=True,
            in_memory=True,
        )
        """A manifest that opens this very object: what ``backend=`` takes."""

    @hookimpl
    def tracking_check(self, deadline: Deadline) -> BackendHealth:
        """Answer, unless told to fail."""
        return self.read("tracking_check", _health)

    @hookimpl
    def tracking_create_experiment(
        self, operation: CreateExperiment, deadline: Deadline
    ) -> Receipt:
        """Get or create an experiment."""
        return self._apply(operation)

    @hookimpl
    def tracking_create_run(self, operation: CreateRun, deadline: Deadline) -> Receipt:
        """Create a run."""
        return self._apply(operation)

    @hookimpl
    def tracking_log_batch(self, operation: LogBatch, deadline: Deadline) -> Receipt:
        """Store metrics, params and tags."""
        return self._apply(operation)

    @hookimpl
    def tracking_update_run(self, operation: UpdateRun, deadline: Deadline) -> Receipt:
        """Set status, end time or name."""
        return self._apply(operation)

    @hookimpl
    def tracking_log_artifact(
        self, operation: LogArtifact, open_content: OpenContent, deadline: Deadline
    ) -> Receipt:
        """Store a file."""
        return self._apply(operation, open_content)

    @hookimpl
    def tracking_create_logged_model(
        self, operation: CreateLoggedModel, deadline: Deadline
    ) -> Receipt:
        """Create a logged model."""
        return self._apply(operation)

    @hookimpl
    def tracking_finalize_logged_model(
        self, operation: FinalizeLoggedModel, deadline: Deadline
    ) -> Receipt:
        """Mark a logged model READY."""
        return self._apply(operation)

    @hookimpl
    def tracking_find_experiments(self, name: str, deadline: Deadline) -> tuple[Experiment, ...]:
        """Find an experiment by name."""
        return self.read("tracking_find_experiments", lambda: self.store.find_experiments(name))

    @hookimpl
    def tracking_get_experiment(self, experiment_id: str, deadline: Deadline) -> Experiment:
        """Get an experiment."""
        return self.read(
            "tracking_get_experiment", lambda: self.store.get_experiment(experiment_id)
        )

    @hookimpl
    def tracking_find_runs(self, operation: CreateRun, deadline: Deadline) -> tuple[Run, ...]:
        """Find runs by their creation."""
        return self.read("tracking_find_runs", lambda: self.store.find_runs(operation.op_id))

    @hookimpl
    def tracking_find_logged_models(
        self, operation: CreateLoggedModel, deadline: Deadline
    ) -> tuple[LoggedModel, ...]:
        """Find logged models by their creation."""
        return self.read(
            "tracking_find_logged_models", lambda: self.store.find_logged_models(operation.op_id)
        )

    @hookimpl
    def tracking_find_run_models(self, run_id: str, deadline: Deadline) -> tuple[LoggedModel, ...]:
        """Find the logged models of a run."""
        return self.read("tracking_find_run_models", lambda: self.store.run_models(run_id))

    @hookimpl
    def tracking_find_by_op_id(self, op_id: str, deadline: Deadline) -> tuple[str, ...]:
        """Find runs and logged models by ``op_id``."""
        return self.read("tracking_find_by_op_id", lambda: self._made_by(op_id))

    @hookimpl
    def tracking_get_run(self, run_id: str, deadline: Deadline) -> Run:
        """Get a run."""
        return self.read("tracking_get_run", lambda: self.store.get_run(run_id))

    @hookimpl
    def tracking_search_runs(self, query: RunQuery, deadline: Deadline) -> Page[Run]:
        """Search runs."""
        return self.read("tracking_search_runs", lambda: self.store.search_runs(query))

    @hookimpl
    def tracking_get_metric_history(
        self, run_id: str, key: str, deadline: Deadline
    ) -> tuple[Metric, ...]:
        """Get every point of a metric."""
        return self.read(
            "tracking_get_metric_history", lambda: self.store.metric_history(run_id, key)
        )

    @hookimpl
    def tracking_list_artifacts(
        self, owner: ArtifactOwner, path: str, deadline: Deadline
    ) -> tuple[FileInfo, ...]:
        """List a folder."""
        return self.read("tracking_list_artifacts", lambda: self.store.list_artifacts(owner, path))

    @hookimpl
    def tracking_download_artifact(
        self, owner: ArtifactOwner, path: str, destination: Path, deadline: Deadline
    ) -> Path:
        """Write a file's bytes to ``destination``."""
        return self.read(
            "tracking_download_artifact",
            lambda: self.store.download_artifact(owner, path, destination),
        )

    @hookimpl
    def tracking_get_logged_model(self, model_id: str, deadline: Deadline) -> LoggedModel:
        """Get a logged model."""
        return self.read("tracking_get_logged_model", lambda: self.store.get_logged_model(model_id))

    @hookimpl
    def registry_check(self, deadline: Deadline) -> BackendHealth:
        """Answer, unless told to fail."""
        return self.read("registry_check", _health)

    @hookimpl
    def registry_create_registered_model(
        self, operation: CreateRegisteredModel, deadline: Deadline
    ) -> Receipt:
        """Get or create a registered model."""
        return self._apply(operation)

    @hookimpl
    def registry_create_model_version(
        self, operation: CreateModelVersion, deadline: Deadline
    ) -> Receipt:
        """Create a version."""
        return self._apply(operation)

    @hookimpl
    def registry_set_model_version_tags(
        self, operation: SetModelVersionTags, deadline: Deadline
    ) -> Receipt:
        """Set tags of a version."""
        return self._apply(operation)

    @hookimpl
    def registry_delete_model_version(
        self, operation: DeleteModelVersion, deadline: Deadline
    ) -> Receipt:
        """Delete a version."""
        return self._apply(operation)

    @hookimpl
    def registry_set_registered_model_tags(
        self, operation: SetRegisteredModelTags, deadline: Deadline
    ) -> Receipt:
        """Set tags of a registered model."""
        return self._apply(operation)

    @hookimpl
    def registry_set_alias(self, operation: SetAlias, deadline: Deadline) -> Receipt:
        """Let an alias point to a version."""
        return self._apply(operation)

    @hookimpl
    def registry_delete_alias(self, operation: DeleteAlias, deadline: Deadline) -> Receipt:
        """Remove an alias."""
        return self._apply(operation)

    @hookimpl
    def registry_find_versions(
        self, operation: CreateModelVersion, deadline: Deadline
    ) -> tuple[ModelVersion, ...]:
        """Find versions by their creation."""
        return self.read(
            "registry_find_versions",
            lambda: self.store.find_versions(operation.op_id, operation.name),
        )

    @hookimpl
    def registry_find_by_op_id(self, op_id: str, deadline: Deadline) -> tuple[str, ...]:
        """Find version numbers by ``op_id``, in all models."""
        return self.read(
            "registry_find_by_op_id",
            lambda: tuple(version.version for version in self.store.find_versions(op_id)),
        )

    @hookimpl
    def registry_get_registered_model(self, name: str, deadline: Deadline) -> RegisteredModel:
        """Get a registered model."""
        return self.read(
            "registry_get_registered_model", lambda: self.store.get_registered_model(name)
        )

    @hookimpl
    def registry_search_registered_models(
        self, query: ModelQuery, deadline: Deadline
    ) -> Page[RegisteredModel]:
        """List registered models."""
        return self.read(
            "registry_search_registered_models",
            lambda: self.store.search_registered_models(query),
        )

    @hookimpl
    def registry_get_model_version(
        self, name: str, version: str, deadline: Deadline
    ) -> ModelVersion:
        """Get a version."""
        return self.read(
            "registry_get_model_version", lambda: self.store.get_model_version(name, version)
        )

    @hookimpl
    def registry_get_version_by_alias(
        self, name: str, alias: str, deadline: Deadline
    ) -> ModelVersion:
        """Get the version that an alias points to."""
        return self.read(
            "registry_get_version_by_alias", lambda: self.store.version_by_alias(name, alias)
        )

    @hookimpl
    def registry_search_versions(
        self, query: VersionQuery, deadline: Deadline
    ) -> Page[ModelVersion]:
        """Search versions."""
        return self.read("registry_search_versions", lambda: self.store.search_versions(query))

    @hookimpl
    def registry_download_model(
        self, name: str, version: str, destination: Path, deadline: Deadline
    ) -> Path:
        """Copy a version's files into the folder ``destination``."""
        return self.read(
            "registry_download_model", lambda: self._download(name, version, destination)
        )

    def _apply(self, operation: Operation, open_content: OpenContent | None = None) -> Receipt:
        if open_content is not None:
            with open_content() as stream:
                content = stream.read()
            open_content = _opener(content)
        return self.write(
            operation.hook,
            operation.kind,
            operation.op_id,
            lambda: self.store.apply(operation, open_content),
        )

    def _made_by(self, op_id: str) -> tuple[str, ...]:
        runs = tuple(run.info.run_id for run in self.store.find_runs(op_id))
        models = tuple(model.model_id for model in self.store.find_logged_models(op_id))
        return runs + models

    def _download(self, name: str, version: str, destination: Path) -> Path:
        source = self.store.get_model_version(name, version).source_uri
        shown = without_credentials(source)
        scheme, _, rest = source.partition(":/")
        identifier, _, folder = rest.partition("/")
        if scheme == "models":
            owner = ArtifactOwner(kind="model", id=identifier)
        elif scheme == "runs":
            owner = ArtifactOwner(kind="run", id=identifier)
        else:
            raise NotFoundError(f"The mock has no files of {shown!r}, version {version} of {name}.")
        prefix = f"{folder}/" if folder else ""
        paths = [path for path in self.store.artifact_paths(owner) if path.startswith(prefix)]
        if not paths:
            raise NotFoundError(f"{shown!r}, version {version} of {name}, has no files.")
        for path in paths:
            self.store.download_artifact(owner, path, destination / path.removeprefix(prefix))
        return destination


def _health() -> BackendHealth:
    return BackendHealth(description="mock, in memory")


def _opener(content: bytes) -> OpenContent:
    return lambda: io.BytesIO(content)
