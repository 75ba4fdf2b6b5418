"""Logs: which attempts' output is complete, where it is kept, and which blobs it consists of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from subgrpc.metastore.schema import TEXT

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the table; what was complete before waits to be put into the artifact store."""
    op.create_table(
        "log",
        sa.Column("experiment_uid", TEXT, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("server", TEXT, nullable=False),
        sa.Column("journal", sa.Integer(), nullable=False),
        sa.Column("local", sa.Integer(), nullable=False),
        sa.Column("end_time", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("digests", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("experiment_uid", "attempt", name="pk_log"),
    )
    for name, columns, condition in (
        ("ix_log_pending", ["end_time"], "state = 0"),
        ("ix_log_kept", ["end_time"], "state < 2"),
        ("ix_log_local", ["end_time", "server", "size"], "local = 1"),
        ("ix_log_expired", ["server"], "local = 1 AND state = 2"),
    ):
        op.create_index(
            name,
            "log",
            columns,
            unique=False,
            sqlite_where=sa.text(condition),
            postgresql_where=sa.text(condition),
        )
    log = sa.table(
        "log",
        *(
            sa.column(name)
            for name in (
                *("experiment_uid", "attempt", "state", "server", "journal", "local"),
                *("end_time", "size", "digests", "body"),
            )
        ),
    )
    attempt = sa.table(
        "attempt",
        *(
            sa.column(name)
            for name in (
                *("experiment_uid", "number", "journal_server", "journal", "end_time"),
                *("create_time", "logs_complete"),
            )
        ),
    )
    it = attempt.c
    empty = sa.literal(b"", sa.LargeBinary())
    complete = sa.select(
        *(it.experiment_uid, it.number, sa.literal(0), it.journal_server, it.journal),
        *(sa.literal(1), sa.func.coalesce(it.end_time, it.create_time), sa.literal(0)),
        *(empty, empty),
    ).where(it.logs_complete == 1)
    op.execute(log.insert().from_select([each.name for each in log.columns], complete))
