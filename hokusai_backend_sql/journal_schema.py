"""The journal's tables: operations, the keys between them, streams, and ids."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Double,
    Index,
    Integer,
    String,
    Table,
    Text,
    event,
    literal_column,
    text,
)
from sqlalchemy.schema import SchemaItem

from hokusai_backend_sql.schema import SCHEMA_NAME, BigKey, metadata

QUEUE_STORAGE = (
    "fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, "
    "autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0"
)
"""PostgreSQL storage settings of tables whose rows change often: room on each page for updates in
place, and dead rows cleared early."""

operations = Table(
    "operations",
    metadata,
    Column("sequence", BigKey, primary_key=True, autoincrement=True),
    Column("op_id", String(32), nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("stream", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("late_effects_matter", Boolean, nullable=False),
    Column("primary_id", Text, nullable=False, default=""),
    Column("content_sha256", String(64)),
    Column("attempts", Integer, nullable=False, server_default="0"),
    # Whether an attempt before the claim `marked_by` may have been applied.
    Column("maybe_applied", Boolean, nullable=False),
    # Fence of the claim that marked it as possibly applied; 0 for none.
    Column("marked_by", BigInteger, nullable=False, server_default="0"),
    # When it may be claimed; with the claim's mark, and as it was before the mark.
    Column("not_before", Double, nullable=False),
    Column("unmarked_not_before", Double, nullable=False),
    Column("appended_at", Double, nullable=False),
    Column("settled_at", Double),
    Column("error", Text, nullable=False, default=""),
    # When a person let it wait again after it was dead.
    Column("retried_at", Double),
    sqlite_autoincrement=True,
)

WAITING: ColumnElement[str] = literal_column("'waiting'", Text)
IS_WAITING = operations.c.state == WAITING
"""Conditions as the partial indexes have them: PostgreSQL's generic plans, which are made before the
values of parameters are known, use such an index only where the value stands in the statement."""
Index(
    "operations_waiting_index",
    operations.c.stream,
    operations.c.destination,
    operations.c.sequence,
    postgresql_where=IS_WAITING,
    sqlite_where=IS_WAITING,
)
Index(
    "operations_first_waiting_index",
    operations.c.sequence,
    postgresql_where=IS_WAITING,
    sqlite_where=IS_WAITING,
)
DEAD: ColumnElement[str] = literal_column("'dead'", Text)
IS_DEAD = operations.c.state == DEAD
Index(
    "operations_dead_index",
    operations.c.sequence,
    postgresql_where=IS_DEAD,
    sqlite_where=IS_DEAD,
)
_settled = operations.c.settled_at.is_not(None)
Index(
    "operations_settled_index",
    operations.c.settled_at,
    postgresql_where=_settled,
    sqlite_where=_settled,
)
Index("operations_stream_index", operations.c.stream, operations.c.sequence)
Index("operations_kind_index", operations.c.kind, operations.c.sequence)

pruned_operations = Table(
    "pruned_operations",
    metadata,
    Column("op_id", String(32), primary_key=True),
)
"""Ids of entries that were deleted after their time, so that they are never taken for new."""

operation_keys = Table(
    "operation_keys",
    metadata,
    Column("destination", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
)
"""What waiting and dead operations provide."""
Index("operation_keys_sequence_index", operation_keys.c.sequence)

operation_waits = Table(
    "operation_waits",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("key", Text, primary_key=True),
    Column("hard", Boolean, primary_key=True),
    Column("destination", Text, nullable=False),
    Column("stream", Text, nullable=False),
)
"""What holds operations back: ``hard`` for ``requires``, else ``after``. Only keys that an earlier
entry provided when the operation was appended: no other can come to hold it back."""
Index("operation_waits_key_index", operation_waits.c.destination, operation_waits.c.key)
Index(
    "operation_waits_stream_index",
    operation_waits.c.destination,
    operation_waits.c.stream,
    operation_waits.c.sequence,
)

intake = Table(
    "intake",
    metadata,
    Column("number", BigKey, primary_key=True, autoincrement=True),
    Column("op_id", String(32), nullable=False),
    Column("kind", Text, nullable=False),
    Column("stream", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("late_effects_matter", Boolean, nullable=False),
    # A JSON array of the keys that it requires; "" for none.
    Column("requires", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("appended_at", Double, nullable=False),
)
"""Where single entries go first: see :mod:`hokusai_backend_sql.intake`. It has no index, so that a
commit writes one page."""

streams = Table(
    "streams",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("destination", Text, primary_key=True),
    Column("waiting", BigInteger, nullable=False, server_default="0"),
    Column("dead", BigInteger, nullable=False, server_default="0"),
    Column("ready_at", Double, nullable=False),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("worker", Text, nullable=False, default=""),
    Column("lease_until", Double),
    Column("late_effect_seconds", Double, nullable=False, server_default="0"),
    # Seconds until it is looked at again while another entry holds it back; 0 where none does.
    Column("held_for", Double, nullable=False, server_default="0"),
    Column("waiting_for", Text, nullable=False, default=""),
    Column("error", Text, nullable=False, default=""),
)
ZERO: ColumnElement[int] = literal_column("0", BigInteger)
HAS_WAITING = streams.c.waiting > ZERO
Index(
    "streams_due_index",
    streams.c.destination,
    streams.c.ready_at,
    postgresql_where=HAS_WAITING,
    sqlite_where=HAS_WAITING,
)
HAS_DEAD = streams.c.dead > ZERO
Index(
    "streams_dead_index",
    streams.c.destination,
    postgresql_where=HAS_DEAD,
    sqlite_where=HAS_DEAD,
)

id_map = Table(
    "id_map",
    metadata,
    Column("provisional_id", Text, primary_key=True),
    Column("primary_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("op_id", String(32), nullable=False),
)
"""What the primary calls the things that were created here. Never pruned."""
Index("id_map_primary_id_index", id_map.c.primary_id)


def _tune(table: SchemaItem, connection: Connection, **_keywords: Any) -> None:
    """Set the storage settings of a queue table that was just created."""
    if connection.dialect.name == "postgresql" and isinstance(table, Table):
        connection.execute(text(f"ALTER TABLE {SCHEMA_NAME}.{table.name} SET ({QUEUE_STORAGE})"))


for _table in (operations, streams, operation_keys, operation_waits, intake):
    event.listen(_table, "after_create", _tune)
