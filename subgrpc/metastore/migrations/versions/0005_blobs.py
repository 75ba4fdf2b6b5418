"""Blobs: what artifact stores keep, where each blob is in it, and which artifacts need it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from subgrpc.metastore.schema import TEXT

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the tables."""
    op.create_table(
        "object",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("ready", sa.Integer(), nullable=False),
        sa.Column("users", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("touch_time", sa.BigInteger(), nullable=False),
        sa.Column("condemned_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_object"),
    )
    op.create_index(
        "ix_object_unused",
        "object",
        ["touch_time", "id"],
        unique=False,
        sqlite_where=sa.text("users = 0"),
        postgresql_where=sa.text("users = 0"),
    )
    op.create_table(
        "blob",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("object_id", TEXT, nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_blob"),
    )
    op.create_index("ix_blob_object_id", "blob", ["object_id"], unique=False)
    op.create_table(
        "artifact_object",
        sa.Column("artifact_uid", TEXT, nullable=False),
        sa.Column("object_id", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("artifact_uid", "object_id", name="pk_artifact_object"),
    )
