"""Alembic's environment: migrations run on the connection that the metastore hands over."""

from __future__ import annotations

from alembic import context

from subgrpc.metastore.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # The caller's transaction is around all of it.
    transactional_ddl=False,
    # SQLite cannot alter columns in place: Alembic then copies the table.
    render_as_batch=True,
)
context.run_migrations()
