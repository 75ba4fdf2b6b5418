"""What all tests share."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# How long an example takes depends on who else uses the machine: that is for benchmarks to say.
settings.register_profile("subgrpc", deadline=None, print_blob=True)
# HYPOTHESIS_PROFILE=long: for an evening, and other examples each time.
settings.register_profile("long", settings.get_profile("subgrpc"), max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "subgrpc"))

# A shell's background job starts with Ctrl-C ignored, and so would everything that tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

KINDS = ("sqlite", "postgres")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=KINDS,
        default="sqlite",
        help="what metastores of tests are kept in; postgres wants POSTGRES_ADMIN_URL: "
        "see tests/testbeds/README.md",
    )


def pytest_configure(config: pytest.Config) -> None:
    for kind in KINDS:
        config.addinivalue_line("markers", f"{kind}: is about this database only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = config.getoption("--database")
    for item in items:
        for kind in KINDS:
            if kind != chosen and item.get_closest_marker(kind):
                item.add_marker(pytest.mark.skip(reason=f"is about {kind}"))


RENEW = """
UPDATE meta SET revision = 0, pruned = 0, restored = 0, control_plane_id = gen_random_uuid()::text,
    history_id = gen_random_uuid()::text,
    token_key = decode(md5(random()::text) || md5(random()::text), 'hex')
"""


def fresh() -> str:
    """Makes a metastore as a new one is: much faster than to make one."""
    from subgrpc.metastore import Metastore
    from subgrpc.metastore.tables import Base

    assert Metastore  # With it every table is known.
    tables = sorted(name for name in Base.metadata.tables if name != "meta")
    return "".join(f"DELETE FROM {name};" for name in tables) + RENEW


class Postgres:
    """The databases of a test run, each with the current schema, used again and again."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url
        self._made: list[str] = []
        self._free: list[str] = []

    def take(self) -> str:
        """The URL of a database that is as new."""
        url = self._free.pop() if self._free else self._migrated()
        self.execute(url, fresh())
        return url

    def give_back(self, url: str) -> None:
        """Whoever still uses it is thrown out."""
        name = url.rpartition("/")[2]
        others = f"datname = '{name}' AND pid <> pg_backend_pid()"
        self.execute(url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
        self._free.append(url)

    def empty(self) -> str:
        """The URL of an empty database."""
        name = f"subgrpc_test_{secrets.token_hex(6)}"
        self.execute(self._admin_url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        self._made.append(name)
        return f"{self._admin_url.rpartition('/')[0]}/{name}"

    def execute(self, url: str, sql: str) -> list[tuple[Any, ...]]:
        """Runs statements; the rows of the first, if it has any."""
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(sql)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        for name in self._made:
            self.execute(self._admin_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _migrated(self) -> str:
        from subgrpc.metastore import Metastore

        async def migrate(folder: str) -> None:
            await (await Metastore.open(Path(folder), database=url)).close()

        url = self.empty()
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as other:
            # An event loop may be running here.
            other.submit(asyncio.run, migrate(folder)).result()
        return url


class Databases:
    """Where the metastores of data folders are: one for each folder, made when it is asked for."""

    def __init__(self, postgres: Postgres | None) -> None:
        self.postgres = postgres
        self._urls: dict[Path, str] = {}

    def of(self, folder: Path) -> str:
        """The URL of a folder's database, as new at first; empty: SQLite, in the folder."""
        if self.postgres is None:
            return ""
        if folder not in self._urls:
            self._urls[folder] = self.postgres.take()
        return self._urls[folder]

    def close(self) -> None:
        for url in self._urls.values():
            assert self.postgres is not None
            self.postgres.give_back(url)


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[Postgres | None]:
    """The testbed's PostgreSQL; None: the tests are run with SQLite."""
    if request.config.getoption("--database") != "postgres":
        yield None
        return
    admin_url = os.environ.get("POSTGRES_ADMIN_URL", "")
    assert admin_url, "no POSTGRES_ADMIN_URL: see tests/testbeds/README.md"
    made = Postgres(admin_url)
    yield made
    made.close()


@pytest.fixture
def databases(postgres: Postgres | None) -> Iterator[Databases]:
    """Where metastores are in this test run: `databases.of(folder)`."""
    made = Databases(postgres)
    yield made
    made.close()


@pytest.fixture(scope="session")
def session_databases(postgres: Postgres | None) -> Iterator[Databases]:
    """As `databases`, until the end of the session."""
    made = Databases(postgres)
    yield made
    made.close()


@pytest.fixture(scope="module")
def module_databases(postgres: Postgres | None) -> Iterator[Databases]:
    """As `databases`, until the end of the module."""
    made = Databases(postgres)
    yield made
    made.close()
