"""The first release's tables.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_QUEUE_STORAGE = (
    "fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, "
    "autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0"
)


def upgrade() -> None:
    """Create all tables; the connection puts them into our schema."""
    op.create_table(
        "artifacts",
        sa.Column("owner_kind", sa.String(length=8), nullable=False),
        sa.Column(
            "owner_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "path", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("content", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner_kind", "owner_id", "path", name="artifacts_primary"),
        comment="Files of runs and logged models; content is the SHA-256 of the stored bytes.",
    )
    op.create_index("artifacts_content_index", "artifacts", ["content"], unique=False)
    op.create_table(
        "contents",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("reference_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="contents_primary"),
    )
    op.create_table(
        "experiments",
        sa.Column(
            "experiment_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column(
            "name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("lifecycle_stage", sa.String(length=16), nullable=False),
        sa.Column("creation_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("experiment_id", name="experiments_primary"),
        sa.UniqueConstraint("name", name="experiments_name_unique"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "id_map",
        sa.Column("provisional_id", sa.Text(), nullable=False),
        sa.Column("primary_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("op_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("provisional_id", name="id_map_primary"),
    )
    op.create_index("id_map_primary_id_index", "id_map", ["primary_id"], unique=False)
    op.create_table(
        "operation_keys",
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("destination", "key", "sequence", name="operation_keys_primary"),
    )
    op.create_index("operation_keys_sequence_index", "operation_keys", ["sequence"], unique=False)
    op.create_table(
        "operation_waits",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("hard", sa.Boolean(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", "key", "hard", name="operation_waits_primary"),
    )
    op.create_index(
        "operation_waits_key_index", "operation_waits", ["destination", "key"], unique=False
    )
    op.create_index(
        "operation_waits_stream_index",
        "operation_waits",
        ["destination", "stream", "sequence"],
        unique=False,
    )
    op.create_table(
        "operations",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("op_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("late_effects_matter", sa.Boolean(), nullable=False),
        sa.Column("primary_id", sa.Text(), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("maybe_applied", sa.Boolean(), nullable=False),
        sa.Column("marked_by", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("unmarked_not_before", sa.Double(), nullable=False),
        sa.Column("appended_at", sa.Double(), nullable=False),
        sa.Column("settled_at", sa.Double(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="operations_primary"),
        sa.UniqueConstraint("op_id", name="operations_op_id_unique"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "operations_dead_index",
        "operations",
        ["sequence"],
        unique=False,
        postgresql_where=sa.text("state = 'dead'"),
        sqlite_where=sa.text("state = 'dead'"),
    )
    op.create_index(
        "operations_delivered_index",
        "operations",
        ["settled_at"],
        unique=False,
        postgresql_where=sa.text("state = 'delivered'"),
        sqlite_where=sa.text("state = 'delivered'"),
    )
    op.create_index("operations_kind_index", "operations", ["kind", "sequence"], unique=False)
    op.create_index(
        "operations_oldest_index",
        "operations",
        ["appended_at"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
        sqlite_where=sa.text("state = 'waiting'"),
    )
    op.create_index("operations_stream_index", "operations", ["stream", "sequence"], unique=False)
    op.create_index(
        "operations_waiting_index",
        "operations",
        ["stream", "destination", "sequence"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
        sqlite_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "pruned_operations",
        sa.Column("op_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("op_id", name="pruned_operations_primary"),
    )
    op.create_table(
        "registered_models",
        sa.Column(
            "name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "description",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("creation_timestamp", sa.BigInteger(), nullable=False),
        sa.Column("last_version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="registered_models_primary"),
        comment="last_version is the highest number ever given, so that none is given twice.",
    )
    op.create_table(
        "streams",
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("waiting", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("dead", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ready_at", sa.Double(), nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("late_effect_seconds", sa.Double(), server_default="0", nullable=False),
        sa.Column("held_for", sa.Double(), server_default="0", nullable=False),
        sa.Column("waiting_for", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("stream", "destination", name="streams_primary"),
    )
    op.create_index(
        "streams_dead_index",
        "streams",
        ["destination"],
        unique=False,
        postgresql_where=sa.text("dead > 0"),
        sqlite_where=sa.text("dead > 0"),
    )
    op.create_index(
        "streams_due_index",
        "streams",
        ["destination", "ready_at"],
        unique=False,
        postgresql_where=sa.text("waiting > 0"),
        sqlite_where=sa.text("waiting > 0"),
    )
    op.create_table(
        "chunks",
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["content_sha256"], ["contents.sha256"], name="chunks_content_sha256_foreign"
        ),
        sa.PrimaryKeyConstraint("content_sha256", "number", name="chunks_primary"),
    )
    op.create_table(
        "experiment_tags",
        sa.Column(
            "experiment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "value", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["experiment_id"],
            ["experiments.experiment_id"],
            name="experiment_tags_experiment_id_foreign",
        ),
        sa.PrimaryKeyConstraint("experiment_id", "key", name="experiment_tags_primary"),
    )
    op.create_table(
        "model_versions",
        sa.Column(
            "name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("op_id", sa.String(length=32), nullable=False),
        sa.Column(
            "source_uri",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "run_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True
        ),
        sa.Column(
            "model_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True
        ),
        sa.Column(
            "description",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("creation_timestamp", sa.BigInteger(), nullable=False),
        sa.Column("lifecycle_stage", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(
            ["name"], ["registered_models.name"], name="model_versions_name_foreign"
        ),
        sa.PrimaryKeyConstraint("name", "version", name="model_versions_primary"),
        sa.UniqueConstraint("op_id", name="model_versions_op_id_unique"),
    )
    op.create_index(
        "model_versions_by_time", "model_versions", ["creation_timestamp", "version"], unique=False
    )
    op.create_index("model_versions_run_id_index", "model_versions", ["run_id"], unique=False)
    op.create_table(
        "registered_model_tags",
        sa.Column(
            "name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "value", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["name"], ["registered_models.name"], name="registered_model_tags_name_foreign"
        ),
        sa.PrimaryKeyConstraint("name", "key", name="registered_model_tags_primary"),
    )
    op.create_table(
        "runs",
        sa.Column(
            "run_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "experiment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("op_id", sa.String(length=32), nullable=False),
        sa.Column(
            "run_name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "user_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "artifact_uri",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=False),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("lifecycle_stage", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiments.experiment_id"], name="runs_experiment_id_foreign"
        ),
        sa.PrimaryKeyConstraint("run_id", name="runs_primary"),
        sa.UniqueConstraint("op_id", name="runs_op_id_unique"),
    )
    op.create_index("runs_by_start", "runs", ["experiment_id", "start_time"], unique=False)
    op.create_table(
        "latest_metrics",
        sa.Column(
            "run_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("is_nan", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="latest_metrics_run_id_foreign"),
        sa.PrimaryKeyConstraint("run_id", "key", name="latest_metrics_primary"),
        comment="The point with the highest step, timestamp and value of each metric.",
    )
    op.create_table(
        "logged_models",
        sa.Column(
            "model_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "experiment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "run_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("op_id", sa.String(length=32), nullable=False),
        sa.Column(
            "name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "model_type",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=True,
        ),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("creation_timestamp", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"],
            ["experiments.experiment_id"],
            name="logged_models_experiment_id_foreign",
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="logged_models_run_id_foreign"),
        sa.PrimaryKeyConstraint("model_id", name="logged_models_primary"),
        sa.UniqueConstraint("op_id", name="logged_models_op_id_unique"),
    )
    op.create_index("logged_models_run_id_index", "logged_models", ["run_id"], unique=False)
    op.create_table(
        "metrics",
        sa.Column(
            "run_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("is_nan", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="metrics_run_id_foreign"),
        sa.PrimaryKeyConstraint(
            "run_id", "key", "timestamp", "step", "value", "is_nan", name="metrics_primary"
        ),
        comment="Every point; a NaN is stored as 0 with is_nan set. Equal points are one point.",
    )
    op.create_table(
        "model_aliases",
        sa.Column(
            "name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "alias", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["name", "version"],
            ["model_versions.name", "model_versions.version"],
            name="model_aliases_name_version_foreign",
        ),
        sa.PrimaryKeyConstraint("name", "alias", name="model_aliases_primary"),
    )
    op.create_table(
        "model_version_tags",
        sa.Column(
            "name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "value", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["name", "version"],
            ["model_versions.name", "model_versions.version"],
            name="model_version_tags_name_version_foreign",
        ),
        sa.PrimaryKeyConstraint("name", "version", "key", name="model_version_tags_primary"),
    )
    op.create_table(
        "run_params",
        sa.Column(
            "run_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "value", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="run_params_run_id_foreign"),
        sa.PrimaryKeyConstraint("run_id", "key", name="run_params_primary"),
    )
    op.create_table(
        "run_tags",
        sa.Column(
            "run_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "value", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="run_tags_run_id_foreign"),
        sa.PrimaryKeyConstraint("run_id", "key", name="run_tags_primary"),
    )
    op.create_table(
        "logged_model_params",
        sa.Column(
            "model_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "value", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["logged_models.model_id"], name="logged_model_params_model_id_foreign"
        ),
        sa.PrimaryKeyConstraint("model_id", "key", name="logged_model_params_primary"),
    )
    op.create_table(
        "logged_model_tags",
        sa.Column(
            "model_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "value", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["logged_models.model_id"], name="logged_model_tags_model_id_foreign"
        ),
        sa.PrimaryKeyConstraint("model_id", "key", name="logged_model_tags_primary"),
    )
    if op.get_bind().dialect.name == "postgresql":
        for table in ("operations", "streams", "operation_keys", "operation_waits"):
            op.execute(f"ALTER TABLE hokusai.{table} SET ({_QUEUE_STORAGE})")
