"""Artifacts: what they are, their labels and files, and what refers to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from subgrpc.metastore.schema import TEXT

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes their tables."""
    op.create_table(
        "artifact",
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("team", TEXT, nullable=False),
        sa.Column("artifact_id", TEXT, nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("creator", TEXT, nullable=False),
        sa.Column("display_name", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("experiment", TEXT, nullable=False),
        sa.Column("output", TEXT, nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.Column("tail", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("uid", name="pk_artifact"),
    )
    _index("ix_artifact_created", "artifact", "team", "create_time", "uid")
    _index("ix_artifact_creator", "artifact", "team", "creator", "create_time", "uid")
    _index("ix_artifact_digest", "artifact", "team", "digest", "create_time", "uid")
    _index("ix_artifact_experiment", "artifact", "team", "experiment", "create_time", "uid")
    op.create_index(
        "ix_artifact_open",
        "artifact",
        ["update_time", "uid"],
        unique=False,
        sqlite_where=sa.text("state = 1"),
        postgresql_where=sa.text("state = 1"),
    )
    _index("ix_artifact_uid", "artifact", "team", "uid")
    _index("ix_artifact_updated", "artifact", "team", "update_time", "uid")
    op.create_index("uq_artifact_name", "artifact", ["team", "artifact_id"], unique=True)
    op.create_table(
        "artifact_label",
        sa.Column("artifact_uid", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.Column("team", TEXT, nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("artifact_uid", "key", name="pk_artifact_label"),
    )
    _index(
        "ix_artifact_label_value",
        *("artifact_label", "team", "key", "value", "create_time", "artifact_uid"),
    )
    op.create_table(
        "artifact_files",
        sa.Column("artifact_uid", TEXT, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("first_path", TEXT, nullable=False),
        sa.Column("file_count", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("artifact_uid", "number", name="pk_artifact_files"),
    )
    op.create_table(
        "artifact_reference",
        sa.Column("artifact_uid", TEXT, nullable=False),
        sa.Column("referrer", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("artifact_uid", "referrer", name="pk_artifact_reference"),
    )
    _index("ix_artifact_reference_referrer", "artifact_reference", "referrer")


def _index(name: str, table: str, *columns: str) -> None:
    op.create_index(name, table, list(columns), unique=False)
