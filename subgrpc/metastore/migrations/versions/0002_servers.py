"""Several servers: whose a lease can be, where a server is reached, where a journal stands."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from subgrpc.metastore.schema import TEXT

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns, and the table of servers."""
    op.create_table(
        "server",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("address", TEXT, nullable=False),
        sa.Column("host", TEXT, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_server"),
    )
    op.add_column("lease", sa.Column("home", TEXT, nullable=False, server_default=""))
    op.add_column("attempt", sa.Column("journal_server", TEXT, nullable=False, server_default=""))
    op.add_column("attempt", sa.Column("journal", sa.Integer(), nullable=False, server_default="0"))
