"""What is PostgreSQL's alone: how a database is made, refused and reached."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from subgrpc.errors import DataLoss, FailedPrecondition, InvalidArgument, Unavailable
from subgrpc.filters import EXPERIMENT_FIELDS, OrderBy, parse_filter
from subgrpc.metastore import Metastore
from subgrpc.metastore.tables import Base

from .conftest import experiment, insert

pytestmark = pytest.mark.postgres


OPENING = """
import asyncio, sys
from pathlib import Path
from subgrpc.metastore import Metastore

async def main():
    store = await Metastore.open(Path(sys.argv[1]), database=sys.argv[2])
    print(store.identity.history_id, store.server_id)
    await store.close()

asyncio.run(main())
"""


async def test_servers_that_start_at_once_make_one_database(tmp_path: Path, postgres: Any) -> None:
    """On an empty database; whoever is later finds what the first one made."""
    url = postgres.empty()
    servers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", OPENING, str(tmp_path / str(number)), url),
            stdout=asyncio.subprocess.PIPE,
        )
        for number in range(3)
    ]
    told = [(await server.communicate())[0].split() for server in servers]
    assert [server.returncode for server in servers] == [0, 0, 0]
    assert len({history for history, _ in told}) == 1
    assert len({server_id for _, server_id in told}) == 3


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path, databases: Any) -> None:
    """Also for a server with another data folder."""
    url = databases.of(tmp_path)
    store = await Metastore.open(tmp_path / "a", database=url)
    await insert(store, experiment("one"))
    await store.close()
    again = await Metastore.open(tmp_path / "b", database=url)
    assert again.shared
    assert again.identity == store.identity
    assert again.revision == again.feed.floor == 1
    assert await again.get_experiment("red", "one") is not None
    await again.close()


async def test_models_and_migrations_agree(tmp_path: Path, databases: Any, postgres: Any) -> None:
    """Columns, indexes and their conditions; all text is ordered by code points."""
    url = databases.of(tmp_path)
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()
    columns = postgres.execute(
        url,
        "SELECT table_name, column_name, collation_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name <> 'alembic_version'"
        " AND data_type IN ('text', 'character varying')",
    )
    assert len(columns) > 20
    assert [each for each in columns if each[2] != "C"] == []
    partial = postgres.execute(
        url, "SELECT indexname, indexdef FROM pg_indexes WHERE indexdef LIKE '%WHERE%'"
    )
    assert {name: sql.partition(" WHERE ")[2] for name, sql in partial} == {
        "ix_experiment_active": "(active = 1)",
        "ix_attempt_unsettled": "(settled = 0)",
        "ix_artifact_open": "(state = 1)",
        "ix_object_unused": "(users = 0)",
        "ix_log_kept": "(state < 2)",
        "ix_log_local": "(local = 1)",
        "ix_log_expired": "((local = 1) AND (state = 2))",
        "ix_log_pending": "(state = 0)",
    }


async def test_a_newer_schema_is_refused(tmp_path: Path, databases: Any, postgres: Any) -> None:
    url = databases.of(tmp_path)
    (version,) = postgres.execute(url, "SELECT version_num FROM alembic_version")[0]
    postgres.execute(url, "UPDATE alembic_version SET version_num = '9999'")
    try:
        with pytest.raises(FailedPrecondition) as caught:
            await Metastore.open(tmp_path, database=url)
    finally:
        postgres.execute(url, f"UPDATE alembic_version SET version_num = '{version}'")
    assert caught.value.reason == "SCHEMA_TOO_NEW"


async def test_another_programs_database_is_refused(tmp_path: Path, postgres: Any) -> None:
    """And left as it is."""
    url = postgres.empty()
    postgres.execute(url, "CREATE TABLE meta (mine int)")
    with pytest.raises(DataLoss) as caught:
        await Metastore.open(tmp_path, database=url)
    assert caught.value.reason == "METASTORE_DAMAGED"
    tables = postgres.execute(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert tables == [("meta",)]


async def test_an_empty_database_is_not_begun_anew_over_old_output(
    tmp_path: Path, postgres: Any
) -> None:
    """While output of experiments is in the data folder: the URL names the wrong database."""
    (tmp_path / "journals" / "uid").mkdir(parents=True)
    url = postgres.empty()
    with pytest.raises(DataLoss):
        await Metastore.open(tmp_path, database=url)
    assert postgres.execute(url, "SELECT to_regclass('meta')") == [(None,)]


async def test_an_encoding_that_cannot_hold_all_text_is_refused(
    tmp_path: Path, databases: Any, postgres: Any
) -> None:
    url = databases.of(tmp_path)
    name = "subgrpc_test_ascii"
    postgres.execute(url, f"DROP DATABASE IF EXISTS {name}")
    postgres.execute(url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII'")
    try:
        with pytest.raises(FailedPrecondition) as caught:
            await Metastore.open(tmp_path, database=f"{url.rpartition('/')[0]}/{name}")
        assert caught.value.reason == "DATABASE_UNFIT"
    finally:
        postgres.execute(url, f"DROP DATABASE {name}")


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("postgresql://ann:hunter2@127.0.0.1:1/nowhere", Unavailable),
        ("postgresql://ann:hunter2@127.0.0.1:1/nowhere?colour=red", InvalidArgument),
        ("mysql://ann:hunter2@127.0.0.1/x", InvalidArgument),
    ],
)
async def test_a_database_that_cannot_be_reached_is_named_without_its_password(
    tmp_path: Path, url: str, error: type[Exception], capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither in the error nor in what is logged; the data folder is unlocked again."""
    with pytest.raises(error) as caught:
        await Metastore.open(tmp_path, database=url, patience=0.1)
    told = "".join(map(str, (caught.value, caught.value.__cause__, *capfd.readouterr())))
    assert "hunter2" not in told
    await (await Metastore.open(tmp_path)).close()


async def test_a_server_that_refuses_is_not_asked_again(tmp_path: Path, databases: Any) -> None:
    """No such database: waiting would not make it."""
    url = databases.of(tmp_path)
    with pytest.raises(Unavailable) as caught:
        await asyncio.wait_for(
            Metastore.open(tmp_path, database=f"{url}_nowhere", patience=3600), 30
        )
    assert "does not exist" in caught.value.message


async def test_lists_are_in_the_order_of_code_points(tmp_path: Path, databases: Any) -> None:
    """Whatever the database's locale is, as with SQLite."""
    store = await Metastore.open(tmp_path, database=databases.of(tmp_path))
    ids = ["a-b", "a1", "b", "a", "aa", "a-a"]
    await insert(store, *(experiment(name) for name in ids))
    order = OrderBy("experiment_id", descending=False)
    page = await store.list_experiments("red", filter=None, order=order, after=None, limit=9)
    found = [re.search(rb"experiments/([a-z0-9-]+)", item) for item in page.items]
    assert [match[1].decode() for match in found if match] == sorted(ids)
    chosen = parse_filter('experiment_id > "a-b"', EXPERIMENT_FIELDS)
    page = await store.list_experiments("red", filter=chosen, order=order, after=None, limit=9)
    assert len(page.items) == 3
    await store.close()


async def test_a_driver_may_say_nul(tmp_path: Path, databases: Any) -> None:
    """PostgreSQL's text cannot hold it: the rest of what was said is kept."""
    store = await Metastore.open(tmp_path, database=databases.of(tmp_path))
    made = experiment("one")
    made.reason = "Odd\0Reason"
    await insert(store, made)
    assert await store.get_experiment("red", "one") is not None
    assert await store._reader.one("SELECT reason FROM experiment") == ("Odd\ufffdReason",)
    await store.close()
