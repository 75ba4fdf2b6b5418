"""The servers that are measured, and the bare one that they are compared with."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import first_line, python, running
from subgrpc.cli import serverfile


class Served(NamedTuple):
    """A server that is up.

    Attributes:
        address: HOST:PORT.
        pid: its process.
    """

    address: str
    pid: int


@contextlib.contextmanager
def bare(folder: Path, *sizes: int) -> Iterator[Served]:
    """The bare server (`benchmarks.bare`)."""
    log = folder / "bare.log"
    with running(python("benchmarks.bare", *sizes), log) as child:
        yield Served(first_line(child, log), child.pid)


@contextlib.contextmanager
def fresh_database(url: str) -> Iterator[str]:
    """The URL of a new database beside the one of a URL; empty for none."""
    if not url:
        yield ""
        return
    import psycopg

    name = f"subgrpc_bench_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'".encode())
        try:
            yield f"{url.rpartition('/')[0]}/{name}"
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextlib.contextmanager
def held(folder: Path, database: str = "") -> Iterator[Served]:
    """A server whose experiments stay QUEUED (`benchmarks.held`); in PostgreSQL if it is named."""
    log = folder / "held.log"
    environment = {**os.environ, "BENCH_DATABASE": database}
    with running(python("benchmarks.held", folder / "held"), log, environment) as child:
        yield Served(first_line(child, log), child.pid)


@contextlib.contextmanager
def local(folder: Path, *options: str) -> Iterator[Served]:
    """A server as `subgrpc up` starts it; options are those of the command."""
    log = folder / "local.log"
    with running(local_command(folder, *options), log) as child:
        first_line(child, log)
        found = serverfile.read(folder / "data")
        assert found is not None
        yield Served(found.addresses[0], child.pid)


def local_command(folder: Path, *options: str) -> list[str]:
    """The command line of `local`."""
    where = ("--data-dir", folder / "data", "--listen", "127.0.0.1:0")
    return python("subgrpc.cli.main", "up", *where, *options)
