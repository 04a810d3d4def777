"""Writes to the model registry."""

from typing import Any, ClassVar, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from hokusai_core.identifiers import IdKind
from hokusai_core.operation_base import Operation, Specification


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
        """The registered model, and the model's files, which ``runs:/id/name`` may mean, too."""
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
    """Set tags of a version; the last writer wins. Harmless to repeat.

    ``follows`` is the ``op_id`` of a queued move of an alias that the tags tell of, "" for none: they
    are queued behind it, and where it does not reach the primary, they do not either.
    """

    kind: Literal["set_model_version_tags"] = "set_model_version_tags"
    tags: dict[str, str]
    follows: str = ""

    @property
    def late_effects_matter(self) -> bool:
        """A late tag would undo a later one."""
        return True

    @property
    def after(self) -> frozenset[str]:
        """The move that the tags tell of."""
        return frozenset({f"move/{self.follows}"} if self.follows else ())

    @model_serializer(mode="wrap")
    def _as_older_releases(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what follows nothing: an older release knows no such field."""
        fields: dict[str, Any] = serialize(self)
        if not self.follows:
            fields.pop("follows", None)
        return fields


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
    def late_effects_matter(self) -> bool:
        """A late tag would undo a later one."""
        return True

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
    def late_effects_matter(self) -> bool:
        """A late move would undo a later one."""
        return True

    @property
    def requires(self) -> frozenset[str]:
        """The registered model, and what the ids name."""
        return super().requires | {f"registered/{self.name}"}


class SetAlias(AliasOperation):
    """Let an alias point to a version."""

    reference_fields: ClassVar[tuple[str, ...]] = ("version", "expected")

    kind: Literal["set_alias"] = "set_alias"
    version: str

    @property
    def provides(self) -> frozenset[str]:
        """The move, for tags that tell of it."""
        return frozenset({f"move/{self.op_id}"})


class DeleteAlias(AliasOperation):
    """Remove an alias. One that is gone is a success."""

    kind: Literal["delete_alias"] = "delete_alias"
