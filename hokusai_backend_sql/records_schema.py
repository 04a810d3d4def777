"""Tables of the records: what a primary owns. They share the metadata of the whole database.

Times are milliseconds since 1970. Text is compared by code points on every database (collation
``C`` on PostgreSQL, which is SQLite's own), so that a search gives the same answer everywhere.
``op_id`` columns are unique: a creation that is repeated finds the first one's row.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeEngine

from hokusai_backend_sql.schema import BigKey, metadata

ACTIVE = "active"
DELETED = "deleted"


def _text() -> TypeEngine[str]:
    return Text().with_variant(Text(collation="C"), "postgresql")


def _op_id() -> Column[str]:
    return Column("op_id", String(32), nullable=False, unique=True)


def _stage() -> Column[str]:
    return Column("lifecycle_stage", String(16), nullable=False, default=ACTIVE)


def _pairs(name: str, *owner: Column[str] | Column[int]) -> Table:
    """Make a table of tags or params: a key and a value for each owner."""
    return Table(
        name,
        metadata,
        *owner,
        Column("key", _text(), primary_key=True),
        Column("value", _text(), nullable=False),
    )


experiments = Table(
    "experiments",
    metadata,
    Column("experiment_id", BigKey, primary_key=True, autoincrement=True),
    Column("name", _text(), nullable=False, unique=True),
    _stage(),
    Column("creation_time", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

experiment_tags = _pairs(
    "experiment_tags",
    Column("experiment_id", ForeignKey(experiments.c.experiment_id), primary_key=True),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", _text(), primary_key=True),
    Column("experiment_id", ForeignKey(experiments.c.experiment_id), nullable=False),
    _op_id(),
    Column("run_name", _text(), nullable=False),
    Column("user_id", _text(), nullable=False),
    Column("artifact_uri", _text(), nullable=False, default=""),
    Column("status", String(16), nullable=False),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger),
    _stage(),
    Index("runs_by_start", "experiment_id", "start_time"),
)

run_tags = _pairs("run_tags", Column("run_id", ForeignKey(runs.c.run_id), primary_key=True))
run_params = _pairs("run_params", Column("run_id", ForeignKey(runs.c.run_id), primary_key=True))

metrics = Table(
    "metrics",
    metadata,
    Column("run_id", ForeignKey(runs.c.run_id), primary_key=True),
    Column("key", _text(), primary_key=True),
    Column("timestamp", BigInteger, primary_key=True),
    Column("step", BigInteger, primary_key=True),
    Column("value", Double, primary_key=True),
    Column("is_nan", Boolean, primary_key=True),
    comment="Every point; a NaN is stored as 0 with is_nan set. Equal points are one point.",
)

latest_metrics = Table(
    "latest_metrics",
    metadata,
    Column("run_id", ForeignKey(runs.c.run_id), primary_key=True),
    Column("key", _text(), primary_key=True),
    Column("timestamp", BigInteger, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("value", Double, nullable=False),
    Column("is_nan", Boolean, nullable=False),
    comment="The point with the highest step, timestamp and value of each metric.",
)

logged_models = Table(
    "logged_models",
    metadata,
    Column("model_id", _text(), primary_key=True),
    Column("experiment_id", ForeignKey(experiments.c.experiment_id), nullable=False),
    Column("run_id", ForeignKey(runs.c.run_id), nullable=False, index=True),
    _op_id(),
    Column("name", _text(), nullable=False),
    Column("model_type", _text()),
    Column("status", String(16), nullable=False),
    Column("creation_timestamp", BigInteger, nullable=False),
)

logged_model_tags = _pairs(
    "logged_model_tags",
    Column("model_id", ForeignKey(logged_models.c.model_id), primary_key=True),
)
logged_model_params = _pairs(
    "logged_model_params",
    Column("model_id", ForeignKey(logged_models.c.model_id), primary_key=True),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("owner_kind", String(8), primary_key=True),
    Column("owner_id", _text(), primary_key=True),
    Column("path", _text(), primary_key=True),
    Column("content", String(64), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    comment="Files of runs and logged models; content is the SHA-256 of the stored bytes.",
)

registered_models = Table(
    "registered_models",
    metadata,
    Column("name", _text(), primary_key=True),
    Column("description", _text(), nullable=False),
    Column("creation_timestamp", BigInteger, nullable=False),
    Column("last_version", BigInteger, nullable=False, default=0),
    comment="last_version is the highest number ever given, so that none is given twice.",
)

registered_model_tags = _pairs(
    "registered_model_tags",
    Column("name", ForeignKey(registered_models.c.name), primary_key=True),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("name", ForeignKey(registered_models.c.name), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    _op_id(),
    Column("source_uri", _text(), nullable=False),
    Column("run_id", _text(), index=True),
    Column("model_id", _text()),
    Column("description", _text(), nullable=False),
    Column("creation_timestamp", BigInteger, nullable=False),
    _stage(),
    Index("model_versions_by_time", "creation_timestamp", "version"),
)

model_version_tags = Table(
    "model_version_tags",
    metadata,
    Column("name", _text(), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("key", _text(), primary_key=True),
    Column("value", _text(), nullable=False),
    ForeignKeyConstraint(["name", "version"], [model_versions.c.name, model_versions.c.version]),
)

model_aliases = Table(
    "model_aliases",
    metadata,
    Column("name", _text(), primary_key=True),
    Column("alias", _text(), primary_key=True),
    Column("version", BigInteger, nullable=False),
    ForeignKeyConstraint(["name", "version"], [model_versions.c.name, model_versions.c.version]),
)
