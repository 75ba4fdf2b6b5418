from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from subgrpc.errors import DataLoss, FailedPrecondition, SubgrpcError
from subgrpc.metastore import Metastore, schema
from subgrpc.metastore.tables import Base

from .conftest import experiment, insert


async def made(folder: Path, count: int = 1) -> Path:
    """The database of a closed metastore."""
    store = await Metastore.open(folder)
    for number in range(count):
        await insert(store, experiment(f"n{number}"))
    await store.close()
    return folder / "metastore.db"


def leftovers(folder: Path) -> list[str]:
    """What is left of a database that was begun and not finished."""
    return [name for name in os.listdir(folder) if ".new" in name]


async def refusal(folder: Path) -> SubgrpcError:
    """Why a metastore cannot be opened; the database is afterwards as it was, and unlocked."""
    before = (folder / "metastore.db").read_bytes()
    with pytest.raises(SubgrpcError) as caught:
        await Metastore.open(folder)
    assert (folder / "metastore.db").read_bytes() == before
    assert not leftovers(folder)
    return caught.value


async def test_an_identity_is_made_once(tmp_path: Path) -> None:
    first = await Metastore.open(tmp_path / "a")
    await first.close()
    again = await Metastore.open(tmp_path / "a")
    other = await Metastore.open(tmp_path / "b")
    assert again.identity == first.identity
    assert len(first.identity.token_key) == 32
    assert "token_key" not in repr(first.identity)
    for name in ("control_plane_id", "history_id", "token_key"):
        assert getattr(other.identity, name) != getattr(first.identity, name)
    await again.close()
    await other.close()


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    await made(tmp_path, 3)
    store = await Metastore.open(tmp_path)
    assert store.revision == store.feed.revision == store.feed.floor == 3
    assert store.feed.after(3) == []
    assert store.feed.after(2) is None
    assert [change.revision for change in await store.changes_after(1, 9)] == [2, 3]
    await insert(store, experiment())
    assert store.revision == 4
    await store.close()


async def test_a_folder_has_one_server_at_a_time(tmp_path: Path) -> None:
    store = await Metastore.open(tmp_path)
    with pytest.raises(FailedPrecondition) as caught:
        await Metastore.open(tmp_path)
    assert caught.value.reason == "DATA_DIR_LOCKED"
    assert caught.value.metadata["pid"] == str(os.getpid())
    assert str(os.getpid()) in caught.value.message
    await insert(store, experiment())
    await store.close()
    await (await Metastore.open(tmp_path)).close()


async def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    """The database holds the key of all tokens."""
    store = await Metastore.open(tmp_path / "new" / "data")
    await insert(store, experiment())
    for path in (tmp_path / "new" / "data").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE((tmp_path / "new" / "data").stat().st_mode) == 0o700
    await store.close()


async def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FailedPrecondition) as caught:
        await Metastore.open(tmp_path / "file" / "data")
    assert caught.value.reason == "DATA_DIR_UNUSABLE"


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\0" * 8192, b"SQLite format 3\0" + b"x" * 9000]
)
async def test_what_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metastore.db").write_bytes(content)
    error = await refusal(tmp_path)
    assert isinstance(error, DataLoss)
    assert error.reason == "METASTORE_DAMAGED"


async def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "metastore.db")) as raw:
        raw.execute("CREATE TABLE mine (x)")
    assert isinstance(await refusal(tmp_path), DataLoss)


async def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    path = await made(tmp_path, 200)
    size = path.stat().st_size
    with path.open("r+b") as file:
        for page in range(2, size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 64)
    assert isinstance(await refusal(tmp_path), DataLoss)


async def test_a_truncated_database_is_found(tmp_path: Path) -> None:
    path = await made(tmp_path, 200)
    os.truncate(path, path.stat().st_size // 2)
    assert isinstance(await refusal(tmp_path), DataLoss)


async def test_a_log_without_its_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metastore.db-wal").write_bytes(b"x")
    with pytest.raises(DataLoss):
        await Metastore.open(tmp_path)
    assert not (tmp_path / "metastore.db").exists()


async def test_a_database_that_is_gone_is_not_begun_anew(tmp_path: Path) -> None:
    """While output of its experiments is there: they would vanish, and go on running."""
    (tmp_path / "journals" / "uid").mkdir(parents=True)
    with pytest.raises(DataLoss):
        await Metastore.open(tmp_path)
    assert not (tmp_path / "metastore.db").exists()
    (tmp_path / "journals" / "uid").rmdir()
    await made(tmp_path)


async def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metastore.db").mkdir()
    with pytest.raises(DataLoss):
        await Metastore.open(tmp_path)


async def test_a_beginning_that_was_cut_off_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "metastore.db.new").write_bytes(b"half")
    (tmp_path / "metastore.db.new-journal").write_bytes(b"half")
    await made(tmp_path)
    assert not leftovers(tmp_path)


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = await made(tmp_path)
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
        raw.commit()
    error = await refusal(tmp_path)
    assert isinstance(error, FailedPrecondition)
    assert error.reason == "SCHEMA_TOO_NEW"
    assert "9999" in error.message


KILLED = """
import asyncio, os, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from subgrpc.metastore import Metastore
from subgrpc import names
from subgrpc.v1.experiment_service_pb2 import Experiment

async def one(store, number):
    uid = names.new_uid()
    made = Experiment(name=f"teams/red/experiments/n{number}", uid=uid, cluster="clusters/local")
    await store.write(lambda tx: tx.insert_experiment(made))
    print(number, flush=True)

async def main():
    store = await Metastore.open(Path(sys.argv[1]))
    for number in range(0, 100_000, 20):
        await asyncio.gather(*(one(store, number + more) for more in range(20)))

asyncio.run(main())
"""


def write_until_killed(folder: Path) -> list[str]:
    """Lets another process write, kills it in the middle, and returns what it had acknowledged."""
    root = str(Path(schema.__file__).parents[2])
    command = [sys.executable, "-c", KILLED, str(folder), root]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        acknowledged = [child.stdout.readline().strip() for _ in range(300)]
        child.send_signal(signal.SIGKILL)
        return acknowledged + child.stdout.read().split("\n")[:-1]


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    acknowledged = write_until_killed(tmp_path / "data")
    store = await Metastore.open(tmp_path / "data")
    for number in acknowledged:
        assert await store.get_experiment("red", f"n{number}") is not None
    changes = await store.changes_after(0, 1_000_000)
    assert len(changes) == store.revision >= len(acknowledged)
    await store.close()


def test_opening_a_current_database_imports_no_alembic(tmp_path: Path) -> None:
    """Importing it would cost more than all the rest of a server's start."""
    asyncio.run(made(tmp_path))
    code = (
        "import asyncio, sys; from pathlib import Path; from subgrpc.metastore import Metastore\n"
        "async def main(): await (await Metastore.open(Path(sys.argv[1]))).close()\n"
        "asyncio.run(main()); assert 'alembic' not in sys.modules; assert 'grpc' not in sys.modules"
    )
    root = str(Path(schema.__file__).parents[2])
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=root)


async def test_models_and_migrations_agree(tmp_path: Path) -> None:
    path = await made(tmp_path)
    with create_engine(f"sqlite:///{path}").connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []
        found = _partial_indexes(path)
    assert found == {
        "ix_experiment_active": "active = 1",
        "ix_attempt_unsettled": "settled = 0",
        "ix_object_unused": "users = 0",
        "ix_artifact_open": "state = 1",
        "ix_log_pending": "state = 0",
        "ix_log_kept": "state < 2",
        "ix_log_local": "local = 1",
        "ix_log_expired": "local = 1 AND state = 2",
    }


def _partial_indexes(path: Path) -> dict[str, str]:
    """Alembic does not compare the conditions of indexes."""
    with contextlib.closing(sqlite3.connect(path)) as raw:
        rows = raw.execute("SELECT name, sql FROM sqlite_master WHERE sql LIKE '%WHERE%'")
        return {name: sql.partition(" WHERE ")[2] for name, sql in rows}


def test_the_known_versions_are_those_of_the_migrations() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    scripts = [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(scripts)) == schema.VERSIONS


async def test_a_copy_of_a_folder_can_be_opened(tmp_path: Path) -> None:
    """A copy made while nothing runs is a backup."""
    await made(tmp_path / "a", 5)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    store = await Metastore.open(tmp_path / "b")
    assert store.revision == 5
    await store.close()
