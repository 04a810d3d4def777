"""Retries and staged contents are marked; indexes for what waits, and for what was settled.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns that may be empty, and exchange two indexes; rows stay as they are."""
    op.add_column("operations", sa.Column("retried_at", sa.Double(), nullable=True))
    op.add_column("contents", sa.Column("staged_at", sa.Double(), nullable=True))
    op.drop_index("operations_oldest_index", "operations")
    op.create_index(
        "operations_first_waiting_index",
        "operations",
        ["sequence"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
        sqlite_where=sa.text("state = 'waiting'"),
    )
    op.drop_index("operations_delivered_index", "operations")
    op.create_index(
        "operations_settled_index",
        "operations",
        ["settled_at"],
        unique=False,
        postgresql_where=sa.text("settled_at IS NOT NULL"),
        sqlite_where=sa.text("settled_at IS NOT NULL"),
    )
