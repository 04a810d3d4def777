"""What all operations share.

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

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from hokusai_core.identifiers import (
    IdKind,
    new_op_id,
    provisional_id,
    provisional_ids_in,
    rename_ids,
)
from hokusai_core.values import Value, now_milliseconds

PARENT_RUN_TAG = "mlflow.parentRunId"
RUN_NAME_TAG = "mlflow.runName"
REFERENCE_TAGS = (PARENT_RUN_TAG, "mlflow_run_id")
"""Tags whose value is an id: of a parent run, and of the run that a version came from."""

Specification = Literal["tracking", "registry", "events"]


@lru_cache(maxsize=1024)
def _id_keys(identifiers: tuple[str, ...]) -> frozenset[str]:
    return frozenset(f"id/{identifier}" for identifier in identifiers)


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
    def late_effects_matter(self) -> bool:
        """Whether an attempt that takes effect late, after another, would do harm.

        It would make a second object, or undo a later write. Such an operation, once it may have
        been applied, is not sent again before the late-effect window is over.
        """
        return type(self).searchable

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
        return _id_keys(self.references)

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
        if tags := self.reference_tags:
            for name in REFERENCE_TAGS:
                found.extend(provisional_ids_in(tags.get(name, "")))
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
