"""A database as the first release left it, with a backlog, written without this release's code."""

import json
import uuid

from alembic import command
from sqlalchemy import Connection, text
from sqlalchemy.schema import CreateSchema

from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.migrations.configuration import configuration
from hokusai_backend_sql.schema import SCHEMA_NAME
from tests.sql.queueing import HERE

FIRST = "0001"
STREAMS, EACH = 5, 20


def make_first_schema(database: Database) -> None:
    """Make the tables of revision 0001."""
    with database._engine.begin() as connection:
        if not database.is_sqlite:
            connection.execute(CreateSchema(SCHEMA_NAME))
        command.upgrade(configuration(connection), FIRST)


def fill_backlog(database: Database) -> dict[str, list[str]]:
    """Put waiting metrics into several streams; give their ids by stream, in order."""
    expected: dict[str, list[str]] = {}
    with database._engine.begin() as connection:
        prefix = "" if database.is_sqlite else f"{SCHEMA_NAME}."
        for number in range(STREAMS):
            run_id = f"run{number}"
            expected[f"run/{run_id}"] = [
                _insert_metric(connection, prefix, run_id, step) for step in range(EACH)
            ]
            connection.execute(
                text(
                    f"INSERT INTO {prefix}streams (stream, destination, waiting, ready_at, worker, "
                    "waiting_for, error) VALUES (:stream, :destination, :waiting, 1, '', '', '')"
                ),
                {"stream": f"run/{run_id}", "destination": HERE, "waiting": EACH},
            )
    return expected


def _insert_metric(connection: Connection, prefix: str, run_id: str, step: int) -> str:
    op_id = uuid.uuid4().hex
    payload = {
        "kind": "log_batch",
        "schema_version": 1,
        "op_id": op_id,
        "created_at": 1,
        "run_id": run_id,
        "metrics": [{"key": "loss", "value": 0.5, "timestamp": 1, "step": step}],
        "params": {},
        "tags": {},
    }
    connection.execute(
        text(
            f"INSERT INTO {prefix}operations (op_id, kind, stream, destination, state, payload, "
            "late_effects_matter, primary_id, maybe_applied, not_before, unmarked_not_before, "
            "appended_at, error) VALUES (:op_id, 'log_batch', :stream, :destination, 'waiting', "
            ":payload, :no, '', :no, 1, 1, 1, '')"
        ),
        {
            "op_id": op_id,
            "stream": f"run/{run_id}",
            "destination": HERE,
            "payload": json.dumps(payload),
            "no": False,
        },
    )
    return op_id
