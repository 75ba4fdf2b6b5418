"""A database of an older version is brought to the newest, with all that is in it."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from subgrpc.metastore import Change, Lease, Metastore, RememberedRequest, schema


def make_first_version(path: Path) -> None:
    """A metastore as the first version made it, with a lease and an attempt."""
    with create_engine(f"sqlite:///{path}").begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(schema.MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(
            "INSERT INTO meta (id, revision, pruned, control_plane_id, history_id, token_key) "
            "VALUES (1, 7, 0, 'c', 'h', x'00')"
        )
        connection.exec_driver_sql(
            "INSERT INTO lease (cluster, holder, epoch, renewals) "
            "VALUES ('clusters/local', 'host:1', 3, 2)"
        )
        connection.exec_driver_sql(
            "INSERT INTO attempt (experiment_uid, number, cluster, handle, create_time, stopping, "
            "reason, message, logs_complete, settled) "
            "VALUES ('u', 1, 'clusters/local', x'01', 5, '', '', '', 1, 0)"
        )
        connection.exec_driver_sql(
            "INSERT INTO change (revision, ordinal, time, team, experiment_uid, before, after) "
            "VALUES (7, 0, 5, 'default', 'u', NULL, x'02')"
        )
        connection.exec_driver_sql(
            "INSERT INTO request (principal, method, request_id, body_hash, experiment_uid, time) "
            "VALUES ('ann', 'm', 'r', x'03', 'u', 9)"
        )


async def test_the_first_version_is_migrated_with_its_rows(tmp_path: Path) -> None:
    """Leases, attempts, changes and request ids keep what they had; what is new is empty."""
    make_first_version(tmp_path / "metastore.db")
    store = await Metastore.open(tmp_path, clock=lambda: 10)
    assert store.revision == 7
    assert await store.lease("local") == Lease("clusters/local", "host:1", 3, 2, "")
    attempt = await store.attempt("u", 1)
    assert attempt is not None
    assert (attempt.handle, attempt.logs_complete, attempt.settled) == (b"\1", True, False)
    assert (attempt.journal_server, attempt.journal) == ("", 0)
    assert list(await store.logs.pending("", 9)) == [("u", 1)]
    change = Change(7, 0, "u", None, b"\2", 5, "default", "experiment")
    assert await store.changes_after(0, 9) == [change]
    done = await store.write_unversioned(lambda tx: tx.remembered("ann", "m", "r"))
    assert done == RememberedRequest(b"\3", "u")
    await store.close()
