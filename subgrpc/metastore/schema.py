"""The versions of the schema, and how a database comes to the newest.

Alembic is imported only when there is something to migrate: importing it takes longer than
everything else that opening the metastore does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from sqlalchemy import String
from sqlalchemy.engine import Connection

from subgrpc import names
from subgrpc.errors import FailedPrecondition

VERSIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009")
"""Every version, oldest first, as in migrations/versions: a test compares them."""
CURRENT: Final = VERSIONS[-1]
TEXT: Final = String().with_variant(String(collation="C"), "postgresql")
"""The type of text in migrations: ordered by code points on every database, as Python does."""
MIGRATIONS: Final = Path(__file__).parent / "migrations"


def is_current(version: str | None, where: str) -> bool:
    """Whether a database is of the current version; False: it is older.

    Raises:
        FailedPrecondition: SCHEMA_TOO_NEW, it was made by a newer subgrpc.
    """
    if version is not None and version not in VERSIONS:
        raise FailedPrecondition(
            f"the metastore {where} has schema version {version}, this subgrpc knows up to "
            f"{CURRENT}: run the subgrpc that wrote it, or a newer one",
            reason="SCHEMA_TOO_NEW",
            metadata={"version": version, "known": CURRENT},
        )
    return version == CURRENT


def first_row() -> tuple[int, int, int, str, str, bytes, int]:
    """The row of table `meta` of a new metastore: its identity, at revision 0."""
    return (1, 0, 0, names.new_uid(), names.new_uid(), os.urandom(32), 0)


def migrate(connection: Connection) -> None:
    """Brings a database to the current version, in the transaction that the connection is in."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
