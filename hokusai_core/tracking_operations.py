"""Writes to experiments, runs, artifacts and logged models."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field

from hokusai_core.identifiers import IdKind, provisional_ids_in, rename_ids
from hokusai_core.operation_base import Operation, Specification
from hokusai_core.values import TERMINAL_STATUSES, ArtifactOwner, MetricPoint, RunStatus


class CreateExperiment(Operation):
    """Get the experiment of that name, or create it. Harmless to repeat."""

    specification: ClassVar[Specification] = "tracking"
    creates: ClassVar[IdKind | None] = IdKind.EXPERIMENT

    kind: Literal["create_experiment"] = "create_experiment"
    name: str
    tags: dict[str, str] = {}

    @property
    def stream(self) -> str:
        """One stream for each name."""
        return f"experiment/{self.name}"


class CreateRun(Operation):
    """Create a run, with all its first tags (its name and the ``op_id`` among them) in one request.

    ``start_time`` is in milliseconds since 1970.
    """

    specification: ClassVar[Specification] = "tracking"
    creates: ClassVar[IdKind | None] = IdKind.RUN
    searchable: ClassVar[bool] = True
    reference_fields: ClassVar[tuple[str, ...]] = ("experiment_id",)

    kind: Literal["create_run"] = "create_run"
    experiment_id: str
    run_name: str
    start_time: int
    tags: dict[str, str] = {}

    @property
    def stream(self) -> str:
        """The new run's stream."""
        return f"run/{self.provisional_id}"

    @property
    def reference_tags(self) -> dict[str, str]:
        """The tags among which one may name the parent run."""
        return self.tags


class RunOperation(Operation):
    """Base of what writes to one existing run."""

    specification: ClassVar[Specification] = "tracking"
    reference_fields: ClassVar[tuple[str, ...]] = ("run_id",)

    run_id: str

    @property
    def stream(self) -> str:
        """The run's stream."""
        return f"run/{self.run_id}"


class LogBatch(RunOperation):
    """Metrics, params and tags of a run in one request. Harmless to repeat.

    At most 1000 entities, of these at most 100 params and 100 tags. A param that is stored with
    another value is refused by the primary.
    """

    kind: Literal["log_batch"] = "log_batch"
    metrics: tuple[MetricPoint, ...] = ()
    params: dict[str, str] = Field(default_factory=dict)
    tags: dict[str, str] = Field(default_factory=dict)

    @property
    def only_metrics(self) -> bool:
        """Whether the order of this batch among others does not matter."""
        return not self.params and not self.tags

    @property
    def late_effects_matter(self) -> bool:
        """A late tag would undo a later one; points and params repeat harmlessly."""
        return bool(self.tags)

    @property
    def references(self) -> tuple[str, ...]:
        """The run, and the runs that tags name."""
        return super().references if self.tags else provisional_ids_in(self.run_id)

    @property
    def reference_tags(self) -> dict[str, str]:
        """The tags among which some name runs."""
        return self.tags


class UpdateRun(RunOperation):
    """Set a run's status, end time (milliseconds since 1970) or name. Harmless to repeat."""

    kind: Literal["update_run"] = "update_run"
    status: RunStatus | None = None
    end_time: int | None = None
    run_name: str | None = None

    @property
    def late_effects_matter(self) -> bool:
        """A late status would undo a later one."""
        return True

    @property
    def lanes(self) -> tuple[str, ...]:
        """A final status waits for the artifacts, too."""
        return (f"artifacts/{self.run_id}",) if self.status in TERMINAL_STATUSES else ()

    @property
    def after(self) -> frozenset[str]:
        """A final status waits for the artifacts, too."""
        return frozenset(self.lanes)


class LogArtifact(RunOperation):
    """Store one file of a run, or of a logged model of that run. Put overwrites: harmless to repeat.

    ``path`` is relative to the owner's root, ``size`` in bytes, ``sha256`` in hexadecimal. Where
    ``rewrites_ids`` is set, the content is UTF-8 text whose provisional ids are replaced on
    delivery (the file ``MLmodel`` names its run and model); size and digest are those before.
    """

    kind: Literal["log_artifact"] = "log_artifact"
    owner: ArtifactOwner
    path: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    rewrites_ids: bool = False
    content_references: tuple[str, ...] = ()
    """The provisional ids inside the content, where ``rewrites_ids`` is set."""

    @property
    def late_effects_matter(self) -> bool:
        """A late file would undo a later one at the same path."""
        return True

    @property
    def references(self) -> tuple[str, ...]:
        """The run, the owner, and the ids inside the content."""
        named = (*super().references, *provisional_ids_in(self.owner.id), *self.content_references)
        return tuple(dict.fromkeys(named))

    def renamed(self, mapping: Mapping[str, str]) -> Self:
        """Exchange the owner's id, too; the content is rewritten when it is sent."""
        owner = self.owner.model_copy(update={"id": rename_ids(self.owner.id, mapping)})
        return super().renamed(mapping).model_copy(update={"owner": owner})

    @property
    def stream(self) -> str:
        """Artifacts have a lane of their own: their store may be away while tracking is well."""
        return f"artifacts/{self.run_id}"

    @property
    def provides(self) -> frozenset[str]:
        """The file, and every folder above it, and the run's lane."""
        parts = self.path.split("/")
        folders = ("/".join(parts[:count]) for count in range(len(parts) + 1))
        return frozenset(
            {f"artifacts/{self.run_id}"}
            | {f"file/{self.owner.kind}/{self.owner.id}/{folder}" for folder in folders}
        )


class CreateLoggedModel(RunOperation):
    """Create an MLflow 3 logged model under a run; its files follow, then it is finalized."""

    creates: ClassVar[IdKind | None] = IdKind.MODEL
    searchable: ClassVar[bool] = True
    reference_fields: ClassVar[tuple[str, ...]] = ("run_id", "experiment_id")

    kind: Literal["create_logged_model"] = "create_logged_model"
    experiment_id: str
    name: str
    tags: dict[str, str] = {}
    params: dict[str, str] = {}
    model_type: str | None = None

    @property
    def stream(self) -> str:
        """Logged models go with the artifacts of their run."""
        return f"artifacts/{self.run_id}"

    @property
    def provides(self) -> frozenset[str]:
        """The model's id, and the run's lane."""
        return super().provides | {f"artifacts/{self.run_id}"}


class FinalizeLoggedModel(RunOperation):
    """Mark a logged model as ready and as an output of its run. Harmless to repeat.

    ``name`` is the model's: a version whose source is ``runs:/run_id/name`` waits for it.
    """

    reference_fields: ClassVar[tuple[str, ...]] = ("run_id", "model_id")

    kind: Literal["finalize_logged_model"] = "finalize_logged_model"
    model_id: str
    name: str = ""

    @property
    def stream(self) -> str:
        """After the model's files."""
        return f"artifacts/{self.run_id}"

    @property
    def provides(self) -> frozenset[str]:
        """The model is complete, under its id and under its name."""
        named = {f"file/run/{self.run_id}/{self.name}"} if self.name else set()
        return frozenset({f"artifacts/{self.run_id}", f"ready/{self.model_id}"} | named)

    @property
    def requires(self) -> frozenset[str]:
        """Every file of the model."""
        return super().requires | {f"file/model/{self.model_id}/"}
