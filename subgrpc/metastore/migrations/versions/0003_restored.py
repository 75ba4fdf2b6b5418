"""Whether a metastore was restored, and nobody has said yet that unknown workloads may go."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column."""
    op.add_column("meta", sa.Column("restored", sa.Integer(), nullable=False, server_default="0"))
