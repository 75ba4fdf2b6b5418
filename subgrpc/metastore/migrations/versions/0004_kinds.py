"""Changes and request ids of several kinds of resources, no longer of experiments only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from subgrpc.metastore.schema import TEXT

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Renames the columns, and adds the kind."""
    op.execute("ALTER TABLE request RENAME COLUMN experiment_uid TO uid")
    if op.get_bind().dialect.name == "sqlite":
        _rebuild()
        return
    op.execute("ALTER TABLE change RENAME COLUMN experiment_uid TO uid")
    op.add_column("change", sa.Column("kind", TEXT, nullable=False, server_default="experiment"))
    op.alter_column("change", "kind", server_default=None)


def _rebuild() -> None:
    """SQLite reads all that stands before a column: a new one must not stand behind the bodies."""
    op.rename_table("change", "former_change")
    op.create_table(
        "change",
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("team", TEXT, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("before", sa.LargeBinary(), nullable=True),
        sa.Column("after", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("revision", "ordinal", name="pk_change"),
    )
    op.execute(
        "INSERT INTO change (revision, ordinal, time, kind, team, uid, before, after) "
        "SELECT revision, ordinal, time, 'experiment', team, experiment_uid, before, after "
        "FROM former_change ORDER BY revision, ordinal"
    )
    op.drop_table("former_change")
