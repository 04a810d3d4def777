"""What the primary calls the things that were created here."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from hokusai_backend_sql.journal_schema import id_map
from hokusai_backend_sql.schema import insert_into
from hokusai_backend_sql.stream_rows import STATEMENT_VALUES
from hokusai_core.identifiers import IdKind, provisional_id
from hokusai_core.operations import OPERATION_KINDS, Operation

_BY_KIND: dict[str, type[Operation]] = {
    kind.model_fields["kind"].default: kind for kind in OPERATION_KINDS
}


class Mapping(NamedTuple):
    """One creation that the primary has given an id."""

    op_id: str
    kind: str
    destination: str
    primary_id: str


def remember(connection: Connection, mappings: Iterable[Mapping]) -> None:
    """Store the mappings of those operations that create something. The first one stays."""
    rows = []
    for mapping in mappings:
        known = _BY_KIND.get(mapping.kind)
        if known is None or known.creates is None or not mapping.primary_id:
            continue
        rows.append(
            {
                "provisional_id": provisional_id(known.creates, mapping.op_id),
                "primary_id": mapping.primary_id,
                "kind": known.creates.value,
                "destination": mapping.destination,
                "op_id": mapping.op_id,
            }
        )
    if rows:
        rows.sort(key=lambda row: row["provisional_id"])
        connection.execute(insert_into(connection, id_map).on_conflict_do_nothing(), rows)


def resolve(connection: Connection, provisional_ids: Sequence[str]) -> dict[str, str]:
    """Give the primary ids that are known for these provisional ids."""
    found: dict[str, str] = {}
    for start in range(0, len(provisional_ids), STATEMENT_VALUES):
        part = provisional_ids[start : start + STATEMENT_VALUES]
        rows = connection.execute(
            select(id_map.c.provisional_id, id_map.c.primary_id).where(
                id_map.c.provisional_id.in_(part)
            )
        )
        found.update({row.provisional_id: row.primary_id for row in rows})
    return found


def aliases(connection: Connection, primary_ids: Sequence[str]) -> dict[str, str]:
    """Give the provisional ids of runs, experiments and logged models with these primary ids.

    A primary id that stands for several things (experiments of two servers) is left out.
    """
    found: dict[str, set[str]] = {}
    for start in range(0, len(primary_ids), STATEMENT_VALUES):
        part = primary_ids[start : start + STATEMENT_VALUES]
        rows = connection.execute(
            select(id_map.c.primary_id, id_map.c.provisional_id).where(
                id_map.c.primary_id.in_(part), id_map.c.kind != IdKind.VERSION.value
            )
        )
        for row in rows:
            found.setdefault(row.primary_id, set()).add(row.provisional_id)
    return {primary: ids.pop() for primary, ids in found.items() if len(ids) == 1}
