"""A large backlog, written as appends and settlements would leave it, much faster."""

from sqlalchemy import text

from hokusai_backend_sql.engine import Database
from hokusai_core.operations import LogBatch, MetricPoint, dump_operation

DESTINATION = "http://benchmark"
_EACH = 500
_PAYLOAD = dump_operation(
    LogBatch(run_id="r", metrics=(MetricPoint(key="m", value=1.0, timestamp=1),))
)


def fill(database: Database, *, waiting: int, delivered: int) -> None:
    """Write waiting and delivered operations, 500 in each stream."""
    prefix = "" if database.is_sqlite else "hokusai."
    identify = (
        "lower(hex(randomblob(16)))"
        if database.is_sqlite
        else "replace(gen_random_uuid()::text, '-', '')"
    )
    false = "0" if database.is_sqlite else "FALSE"
    payload = _PAYLOAD.replace(":", "\\:")
    with database._engine.begin() as connection:
        if not database.is_sqlite:
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        for state, settled, count in (
            ("delivered", "1000", delivered),
            ("waiting", "NULL", waiting),
        ):
            if not count:
                continue
            numbers = (
                "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers "
                f"WHERE n < {count} - 1)"
                if database.is_sqlite
                else ""
            )
            source = "numbers" if database.is_sqlite else f"generate_series(0, {count} - 1) AS n"
            connection.execute(
                text(
                    f"{numbers} INSERT INTO {prefix}operations (op_id, kind, stream, destination, "
                    "state, payload, late_effects_matter, primary_id, maybe_applied, not_before, "
                    "unmarked_not_before, appended_at, settled_at, error) "
                    f"SELECT {identify}, 'log_batch', 'run/filled' || (n / {_EACH}), "
                    f":destination, '{state}', '{payload}', {false}, '', {false}, 1, 1, 1000, "
                    f"{settled}, '' FROM {source}"
                ),
                {"destination": DESTINATION},
            )
        connection.execute(
            text(
                f"INSERT INTO {prefix}streams (stream, destination, waiting, ready_at, worker, "
                "waiting_for, error) SELECT stream, destination, "
                "sum(CASE WHEN state = 'waiting' THEN 1 ELSE 0 END), 1, '', '', '' FROM "
                f"{prefix}operations WHERE stream LIKE 'run/filled%' GROUP BY stream, destination"
            )
        )
    if not database.is_sqlite:
        with database._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as plain:
            plain.execute(text("SET statement_timeout = 0"))
            for table in ("operations", "streams"):
                plain.execute(text(f"VACUUM ANALYZE hokusai.{table}"))
