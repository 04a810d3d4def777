"""A table without indexes, where single entries go first.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_QUEUE_STORAGE = (
    "fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, "
    "autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0"
)


def upgrade() -> None:
    """Add an empty table."""
    op.create_table(
        "intake",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("op_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("late_effects_matter", sa.Boolean(), nullable=False),
        sa.Column("requires", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("appended_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="intake_primary"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE hokusai.intake SET ({_QUEUE_STORAGE})")
