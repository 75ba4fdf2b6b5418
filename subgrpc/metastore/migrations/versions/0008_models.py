"""The model registry."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from subgrpc.metastore.schema import TEXT

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes its tables."""
    op.create_table(
        "model",
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("team", TEXT, nullable=False),
        sa.Column("model_id", TEXT, nullable=False),
        sa.Column("creator", TEXT, nullable=False),
        sa.Column("display_name", TEXT, nullable=False),
        sa.Column("latest_version", sa.Integer(), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("uid", name="pk_model"),
    )
    op.create_index("ix_model_created", "model", ["team", "create_time", "uid"], unique=False)
    op.create_index(
        "ix_model_creator", "model", ["team", "creator", "create_time", "uid"], unique=False
    )
    op.create_index("ix_model_uid", "model", ["team", "uid"], unique=False)
    op.create_index("ix_model_updated", "model", ["team", "update_time", "uid"], unique=False)
    op.create_index("uq_model_name", "model", ["team", "model_id"], unique=True)
    op.create_table(
        "model_alias",
        sa.Column("team", TEXT, nullable=False),
        sa.Column("model_id", TEXT, nullable=False),
        sa.Column("alias", TEXT, nullable=False),
        sa.Column("version_uid", TEXT, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("team", "model_id", "alias", name="pk_model_alias"),
    )
    op.create_index(
        "ix_model_alias_created",
        "model_alias",
        ["team", "alias", "create_time", "version_uid"],
        unique=False,
    )
    op.create_index("ix_model_alias_version", "model_alias", ["version_uid"], unique=False)
    op.create_table(
        "model_event",
        sa.Column("model_uid", TEXT, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("alias", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("below", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("model_uid", "sequence", name="pk_model_event"),
    )
    op.create_table(
        "model_tag",
        sa.Column("model_uid", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.Column("team", TEXT, nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model_uid", "key", name="pk_model_tag"),
    )
    op.create_index(
        "ix_model_tag_value",
        "model_tag",
        ["team", "key", "value", "create_time", "model_uid"],
        unique=False,
    )
    op.create_table(
        "model_version",
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("team", TEXT, nullable=False),
        sa.Column("model_id", TEXT, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("stage", TEXT, nullable=False),
        sa.Column("creator", TEXT, nullable=False),
        sa.Column("framework", TEXT, nullable=False),
        sa.Column("artifact", TEXT, nullable=False),
        sa.Column("experiment", TEXT, nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("uid", name="pk_model_version"),
    )
    op.create_index(
        "ix_model_version_artifact",
        "model_version",
        ["team", "artifact", "create_time", "uid"],
        unique=False,
    )
    op.create_index(
        "ix_model_version_created", "model_version", ["team", "create_time", "uid"], unique=False
    )
    op.create_index(
        "ix_model_version_created_of",
        "model_version",
        ["team", "model_id", "create_time", "uid"],
        unique=False,
    )
    op.create_index(
        "ix_model_version_creator",
        "model_version",
        ["team", "creator", "create_time", "uid"],
        unique=False,
    )
    op.create_index(
        "ix_model_version_experiment",
        "model_version",
        ["team", "experiment", "create_time", "uid"],
        unique=False,
    )
    op.create_index(
        "ix_model_version_stage",
        "model_version",
        ["team", "stage", "create_time", "uid"],
        unique=False,
    )
    op.create_index(
        "ix_model_version_stage_of",
        "model_version",
        ["team", "model_id", "stage", "number"],
        unique=False,
    )
    op.create_index("ix_model_version_uid", "model_version", ["team", "uid"], unique=False)
    op.create_index(
        "ix_model_version_updated", "model_version", ["team", "update_time", "uid"], unique=False
    )
    op.create_index(
        "ix_model_version_updated_of",
        "model_version",
        ["team", "model_id", "update_time", "uid"],
        unique=False,
    )
    op.create_index(
        "uq_model_version_number", "model_version", ["team", "model_id", "number"], unique=True
    )
    op.create_table(
        "model_version_metric",
        sa.Column("version_uid", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("version_uid", "key", name="pk_model_version_metric"),
    )
    op.create_table(
        "model_version_tag",
        sa.Column("version_uid", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.Column("team", TEXT, nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("version_uid", "key", name="pk_model_version_tag"),
    )
    op.create_index(
        "ix_model_version_tag_value",
        "model_version_tag",
        ["team", "key", "value", "create_time", "version_uid"],
        unique=False,
    )
