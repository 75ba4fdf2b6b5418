"""Several servers: whose a lease can be, where a server is reached, where a journal stands."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns, and the table of servers."""
    op.create_table(
        "server",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_server"),
    )
    op.add_column("lease", sa.Column("home", sa.String(), nullable=False, server_default=""))
    op.add_column(
        "attempt", sa.Column("journal_server", sa.String(), nullable=False, server_default="")
    )
    op.add_column("attempt", sa.Column("journal", sa.Integer(), nullable=False, server_default="0"))
