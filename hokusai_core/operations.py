"""Every write as a value: all kinds of operations, and their JSON form.

See :mod:`hokusai_core.operation_base` for what they share and how they are ordered.
"""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from hokusai_core.event_operations import AnnounceRegistration
from hokusai_core.operation_base import (
    PARENT_RUN_TAG,
    REFERENCE_TAGS,
    RUN_NAME_TAG,
    Operation,
    Specification,
)
from hokusai_core.packed_points import pack, unpack
from hokusai_core.registry_operations import (
    AliasOperation,
    CreateModelVersion,
    CreateRegisteredModel,
    DeleteAlias,
    DeleteModelVersion,
    RegistryOperation,
    SetAlias,
    SetModelVersionTags,
    SetRegisteredModelTags,
    VersionOperation,
)
from hokusai_core.tracking_operations import (
    CreateExperiment,
    CreateLoggedModel,
    CreateRun,
    FinalizeLoggedModel,
    LogArtifact,
    LogBatch,
    RunOperation,
    UpdateRun,
)
from hokusai_core.values import (
    TERMINAL_STATUSES,
    ArtifactOwner,
    MetricPoint,
    RunStatus,
    Value,
    now_milliseconds,
)

__all__ = [
    "OPERATION_KINDS",
    "PARENT_RUN_TAG",
    "REFERENCE_TAGS",
    "RUN_NAME_TAG",
    "TERMINAL_STATUSES",
    "AliasOperation",
    "AnnounceRegistration",
    "AnyOperation",
    "ArtifactOwner",
    "CreateExperiment",
    "CreateLoggedModel",
    "CreateModelVersion",
    "CreateRegisteredModel",
    "CreateRun",
    "DeleteAlias",
    "DeleteModelVersion",
    "FinalizeLoggedModel",
    "LogArtifact",
    "LogBatch",
    "MetricPoint",
    "Operation",
    "RegistryOperation",
    "RunOperation",
    "RunStatus",
    "SetAlias",
    "SetModelVersionTags",
    "SetRegisteredModelTags",
    "Specification",
    "UpdateRun",
    "Value",
    "VersionOperation",
    "begins_as_known_batch",
    "dump_operation",
    "json_text",
    "load_operation",
    "now_milliseconds",
]

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
    | DeleteAlias
    | AnnounceRegistration,
    Field(discriminator="kind"),
]

_ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyOperation)

_TEXT = TypeAdapter(str)

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
"""Every kind of operation that a backend carries out, in the order of the hook specifications."""


def dump_operation(operation: Operation) -> str:
    """Give an operation's JSON text, as the journal stores it."""
    return operation.model_dump_json()


_BATCH_BEGINS = dump_operation(LogBatch(run_id="")).partition('"op_id"')[0]
_PACKED_BEGINS = pack("", 0, "", ()).partition('"op_id"')[0]


def begins_as_known_batch(text: str) -> bool:
    """Say whether a JSON text is that of a :class:`LogBatch` which this release knows.

    Kind and schema version stand first; whether the rest is sound shows when it is read.
    """
    return text.startswith((_BATCH_BEGINS, _PACKED_BEGINS))


def json_text(text: str) -> str:
    """Give a text as it stands between quotes in an operation's JSON text."""
    return _TEXT.dump_json(text).decode()[1:-1]


def load_operation(text: str) -> AnyOperation:
    """Read an operation from its JSON text, as :func:`dump_operation` or ``pack`` gives it.

    Raises:
        pydantic.ValidationError: For a kind or a schema version that this release does not know.

    """
    if text.startswith(_PACKED_BEGINS):
        return unpack(text)
    operation: AnyOperation = _ADAPTER.validate_json(text)
    return operation
