"""Every write as a value.

An operation is made once, when the user calls: its ``op_id``, its times and its ids are fixed then,
so that sending it late, or twice, has the same effect. It is validated already (the facades use
:mod:`hokusai_core.validation`), frozen, and survives a JSON round trip unchanged; the journal
stores the JSON text.

How operations are ordered:

* ``stream`` names what must keep its order. One stream is delivered serially, streams in parallel.
* ``provides`` are the keys that come true when the operation is delivered.
* ``requires`` are keys that must not be waiting, nor dead, anywhere earlier in the journal.
* ``after`` are keys that must not be waiting (a dead one does not hold the operation back).
"""

import time
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from hokusai_core.identifiers import (
    IdKind,
    new_op_id,
    provisional_id,
    provisional_ids_in,
    rename_ids,
)

PARENT_RUN_TAG = "mlflow.parentRunId"
RUN_NAME_TAG = "mlflow.runName"
REFERENCE_TAGS = (PARENT_RUN_TAG, "mlflow_run_id")
"""Tags whose value is an id: of a parent run, and of the run that a version came from."""

RunStatus = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
TERMINAL_STATUSES: frozenset[str] = frozenset({"FINISHED", "FAILED", "KILLED"})

Specification = Literal["tracking", "registry"]


def now_milliseconds() -> int:
    """Give the wall clock's time in whole milliseconds since 1970 (UTC)."""
    return time.time_ns() // 1_000_000


class Value(BaseModel):
    """Base of the frozen values that operations and reads are made of."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_inf_nan="strings", protected_namespaces=()
    )


class MetricPoint(Value):
    """One measured value: ``timestamp`` in milliseconds since 1970, ``step`` of 64 bits."""

    key: str
    value: float
    timestamp: int
    step: int = 0


class ArtifactOwner(Value):
    """What an artifact belongs to: a run, or a logged model (whose files have a root of their own)."""

    kind: Literal["run", "model"]
    id: str


class Operation(Value):
    """What all operations share.

    ``op_id`` identifies the operation everywhere, for ever; ``created_at`` is when the user called,
    in milliseconds since 1970; ``schema_version`` lets an older worker leave alone what it does not
    know.
    """

    specification: ClassVar[Specification]
    creates: ClassVar[IdKind | None] = None
    """What kind of id the operation makes on the primary; None if it makes none."""
    searchable: ClassVar[bool] = False
    """Whether what it creates is found by its ``op_id`` (else it is got or created by name)."""
    reference_fields: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that hold an id, or a URI with one inside."""

    kind: str
    schema_version: Literal[1] = 1
    op_id: str = Field(default_factory=new_op_id, pattern=r"^[0-9a-f]{32}$")
    created_at: int = Field(default_factory=now_milliseconds)

    @property
    def hook(self) -> str:
        """Name of the hook that carries this kind out."""
        return f"{self.specification}_{self.kind}"

    @property
    def stream(self) -> str:
        """Key of what must keep its order."""
        raise NotImplementedError

    @property
    def lanes(self) -> tuple[str, ...]:
        """Other streams that a direct write has to look at before it overtakes them."""
        return ()

    @property
    def provisional_id(self) -> str | None:
        """Id of what the operation makes, valid until and after the primary gives its own."""
        return provisional_id(self.creates, self.op_id) if self.creates else None

    @property
    def provides(self) -> frozenset[str]:
        """Keys that come true when the operation is delivered."""
        made = self.provisional_id
        return frozenset({f"id/{made}"} if made else ())

    @property
    def requires(self) -> frozenset[str]:
        """Keys that hold the operation back while they are waiting or dead."""
        return frozenset(f"id/{identifier}" for identifier in self.references)

    @property
    def after(self) -> frozenset[str]:
        """Keys that hold the operation back while they are waiting."""
        return frozenset()

    @property
    def references(self) -> tuple[str, ...]:
        """The provisional ids that the operation names, all of which must be known to send it.

        Only fields that are ids or URIs, and the tags of :data:`REFERENCE_TAGS`, name ids; the
        same characters anywhere else are data.
        """
        found: list[str] = []
        for name in self.reference_fields:
            value = getattr(self, name)
            if value is not None:
                found.extend(provisional_ids_in(value))
        for name in REFERENCE_TAGS:
            found.extend(provisional_ids_in(self.reference_tags.get(name, "")))
        return tuple(dict.fromkeys(found))

    @property
    def reference_tags(self) -> dict[str, str]:
        """The tags among which some name ids."""
        return {}

    def renamed(self, mapping: Mapping[str, str]) -> Self:
        """Give the same operation with ids exchanged wherever it names them, as the mapping says.

        Used with provisional ids as keys before sending, and the other way round before queueing.
        """
        changes: dict[str, Any] = {}
        for name in self.reference_fields:
            value = getattr(self, name)
            if value is not None and (new := rename_ids(value, mapping)) != value:
                changes[name] = new
        tags = self.reference_tags
        renamed_tags = {
            name: rename_ids(tags[name], mapping) for name in REFERENCE_TAGS if name in tags
        }
        if any(tags[name] != value for name, value in renamed_tags.items()):
            changes["tags"] = tags | renamed_tags
        return self.model_copy(update=changes) if changes else self


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
    params: dict[str, str] = {}
    tags: dict[str, str] = {}

    @property
    def only_metrics(self) -> bool:
        """Whether the order of this batch among others does not matter."""
        return not self.params and not self.tags

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
    """Mark a logged model as ready and as an output of its run. Harmless to repeat."""

    reference_fields: ClassVar[tuple[str, ...]] = ("run_id", "model_id")

    kind: Literal["finalize_logged_model"] = "finalize_logged_model"
    model_id: str

    @property
    def stream(self) -> str:
        """After the model's files."""
        return f"artifacts/{self.run_id}"

    @property
    def provides(self) -> frozenset[str]:
        """The model is complete."""
        return frozenset({f"artifacts/{self.run_id}", f"ready/{self.model_id}"})

    @property
    def requires(self) -> frozenset[str]:
        """Every file of the model."""
        return super().requires | {f"file/model/{self.model_id}/"}


class RegistryOperation(Operation):
    """Base of what writes to the model registry; ``name`` is the registered model's."""

    specification: ClassVar[Specification] = "registry"
    name: str

    @property
    def stream(self) -> str:
        """The registered model's stream."""
        return f"model/{self.name}"


class CreateRegisteredModel(RegistryOperation):
    """Get the registered model of that name, or create it. Harmless to repeat."""

    kind: Literal["create_registered_model"] = "create_registered_model"
    description: str | None = None
    tags: dict[str, str] = {}

    @property
    def provides(self) -> frozenset[str]:
        """The registered model."""
        return frozenset({f"registered/{self.name}"})


class CreateModelVersion(RegistryOperation):
    """Create a version with all its tags in one request. A repeat would make another version.

    ``source`` is a URI (``models:/m-...``, ``runs:/id/path``, an object store's). ``model_id`` is
    given for ``models:/m-...``, ``run_id`` for both where there is a run.
    """

    creates: ClassVar[IdKind | None] = IdKind.VERSION
    searchable: ClassVar[bool] = True
    reference_fields: ClassVar[tuple[str, ...]] = ("source", "run_id", "model_id")

    kind: Literal["create_model_version"] = "create_model_version"
    source: str
    run_id: str | None = None
    model_id: str | None = None
    description: str | None = None
    tags: dict[str, str] = {}

    @property
    def stream(self) -> str:
        """The version's own stream: a version that waits holds up no other."""
        return f"version/{self.name}/{self.provisional_id}"

    @property
    def reference_tags(self) -> dict[str, str]:
        """The tags among which one may name the run."""
        return self.tags

    @property
    def lanes(self) -> tuple[str, ...]:
        """The registered model may be waiting, and the model's files."""
        artifacts = (f"artifacts/{self.run_id}",) if self.run_id else ()
        return (f"model/{self.name}", *artifacts)

    @property
    def requires(self) -> frozenset[str]:
        """The registered model, and the model's files."""
        needed = {f"registered/{self.name}"}
        if self.model_id:
            needed.add(f"ready/{self.model_id}")
        if self.source.startswith("runs:/"):
            needed.add(f"file/run/{self.source.removeprefix('runs:/')}")
        return super().requires | needed


class VersionOperation(RegistryOperation):
    """Base of what writes to one existing version."""

    reference_fields: ClassVar[tuple[str, ...]] = ("version",)

    version: str

    @property
    def stream(self) -> str:
        """The version's stream."""
        return f"version/{self.name}/{self.version}"


class SetModelVersionTags(VersionOperation):
    """Set tags of a version; the last writer wins. Harmless to repeat."""

    kind: Literal["set_model_version_tags"] = "set_model_version_tags"
    tags: dict[str, str]


class DeleteModelVersion(VersionOperation):
    """Delete a version. A version that is gone is a success."""

    kind: Literal["delete_model_version"] = "delete_model_version"

    @property
    def lanes(self) -> tuple[str, ...]:
        """Aliases that move away from it first."""
        return (f"model/{self.name}",)


class SetRegisteredModelTags(RegistryOperation):
    """Set tags of a registered model; the last writer wins. Harmless to repeat."""

    kind: Literal["set_registered_model_tags"] = "set_registered_model_tags"
    tags: dict[str, str]

    @property
    def requires(self) -> frozenset[str]:
        """The registered model."""
        return frozenset({f"registered/{self.name}"})


class AliasOperation(RegistryOperation):
    """Base of what moves or removes an alias.

    ``expected`` is the version that the alias pointed to when last seen: "" for none, None where
    nothing was known. A worker that finds another one leaves it and makes a dead letter, unless
    ``force`` is set.
    """

    alias: str
    expected: str | None = None
    force: bool = False

    @property
    def requires(self) -> frozenset[str]:
        """The registered model, and what the ids name."""
        return super().requires | {f"registered/{self.name}"}


class SetAlias(AliasOperation):
    """Let an alias point to a version."""

    reference_fields: ClassVar[tuple[str, ...]] = ("version", "expected")

    kind: Literal["set_alias"] = "set_alias"
    version: str


class DeleteAlias(AliasOperation):
    """Remove an alias. One that is gone is a success."""

    kind: Literal["delete_alias"] = "delete_alias"


AnyOperation = Annotated[
    CreateExperiment
    | CreateRun
    | LogBatch
    | UpdateRun
    | LogArtifact
    | CreateLoggedModel
    | FinalizeLoggedModel
    | CreateRegisteredModel
    | CreateModelVersion
    | SetModelVersionTags
    | DeleteModelVersion
    | SetRegisteredModelTags
    | SetAlias
    | DeleteAlias,
    Field(discriminator="kind"),
]

_ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyOperation)

OPERATION_KINDS: tuple[type[Operation], ...] = (
    CreateExperiment,
    CreateRun,
    LogBatch,
    UpdateRun,
    LogArtifact,
    CreateLoggedModel,
    FinalizeLoggedModel,
    CreateRegisteredModel,
    CreateModelVersion,
    SetModelVersionTags,
    DeleteModelVersion,
    SetRegisteredModelTags,
    SetAlias,
    DeleteAlias,
)
"""Every kind of operation, in the order of the hook specifications."""


def dump_operation(operation: Operation) -> str:
    """Give an operation's JSON text, as the journal stores it."""
    return operation.model_dump_json()


def load_operation(text: str) -> AnyOperation:
    """Read an operation from its JSON text.

    Raises:
        pydantic.ValidationError: For a kind or a schema version that this release does not know.

    """
    operation: AnyOperation = _ADAPTER.validate_json(text)
    return operation
