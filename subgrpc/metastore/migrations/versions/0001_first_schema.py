"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from subgrpc.metastore.schema import TEXT

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes every table."""
    op.create_table(
        "attempt",
        sa.Column("experiment_uid", TEXT, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("handle", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=True),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("stopping", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("message", TEXT, nullable=False),
        sa.Column("logs_complete", sa.Integer(), nullable=False),
        sa.Column("settled", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("experiment_uid", "number", name="pk_attempt"),
    )
    op.create_index(
        "ix_attempt_unsettled",
        "attempt",
        ["cluster", "experiment_uid"],
        unique=False,
        sqlite_where=sa.text("settled = 0"),
        postgresql_where=sa.text("settled = 0"),
    )
    op.create_table(
        "change",
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("team", TEXT, nullable=False),
        sa.Column("experiment_uid", TEXT, nullable=False),
        sa.Column("before", sa.LargeBinary(), nullable=True),
        sa.Column("after", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("revision", "ordinal", name="pk_change"),
    )
    op.create_table(
        "cluster",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_cluster"),
    )
    op.create_table(
        "event",
        sa.Column("experiment_uid", TEXT, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("experiment_uid", "sequence", name="pk_event"),
    )
    op.create_table(
        "experiment",
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("team", TEXT, nullable=False),
        sa.Column("experiment_id", TEXT, nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("creator", TEXT, nullable=False),
        sa.Column("display_name", TEXT, nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.Column("end_time", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("active", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("uid", name="pk_experiment"),
    )
    op.create_index(
        "ix_experiment_active",
        "experiment",
        ["cluster", "uid"],
        unique=False,
        sqlite_where=sa.text("active = 1"),
        postgresql_where=sa.text("active = 1"),
    )
    op.create_index(
        "ix_experiment_cluster",
        "experiment",
        ["team", "cluster", "create_time", "uid"],
        unique=False,
    )
    op.create_index(
        "ix_experiment_created", "experiment", ["team", "create_time", "uid"], unique=False
    )
    op.create_index(
        "ix_experiment_creator",
        "experiment",
        ["team", "creator", "create_time", "uid"],
        unique=False,
    )
    op.create_index("ix_experiment_ended", "experiment", ["team", "end_time", "uid"], unique=False)
    op.create_index(
        "ix_experiment_state", "experiment", ["team", "state", "create_time", "uid"], unique=False
    )
    op.create_index("ix_experiment_uid", "experiment", ["team", "uid"], unique=False)
    op.create_index(
        "ix_experiment_updated", "experiment", ["team", "update_time", "uid"], unique=False
    )
    op.create_index("uq_experiment_name", "experiment", ["team", "experiment_id"], unique=True)
    op.create_table(
        "label",
        sa.Column("experiment_uid", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.Column("team", TEXT, nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("experiment_uid", "key", name="pk_label"),
    )
    op.create_index(
        "ix_label_value",
        "label",
        ["team", "key", "value", "create_time", "experiment_uid"],
        unique=False,
    )
    op.create_table(
        "lease",
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("holder", TEXT, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("renewals", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", name="pk_lease"),
    )
    op.create_table(
        "meta",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("pruned", sa.BigInteger(), nullable=False),
        sa.Column("control_plane_id", TEXT, nullable=False),
        sa.Column("history_id", TEXT, nullable=False),
        sa.Column("token_key", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_meta"),
    )
    op.create_table(
        "request",
        sa.Column("principal", TEXT, nullable=False),
        sa.Column("method", TEXT, nullable=False),
        sa.Column("request_id", TEXT, nullable=False),
        sa.Column("body_hash", sa.LargeBinary(), nullable=False),
        sa.Column("experiment_uid", TEXT, nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("principal", "method", "request_id", name="pk_request"),
    )
    op.create_index("ix_request_time", "request", ["time"], unique=False)
    op.create_table(
        "task",
        sa.Column("experiment_uid", TEXT, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("experiment_uid", "attempt", "role", "number", name="pk_task"),
    )
