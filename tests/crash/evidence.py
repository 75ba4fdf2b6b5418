"""What a universe leaves to be judged: the files of its clients, its ledger, its database."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from subgrpc.v1.experiment_service_pb2 import Experiment

from .history import Change

Row = tuple[Any, ...]


class Database:
    """The database of a universe, read while a server has it open or after all were killed."""

    def __init__(self, url: str, data: Path) -> None:
        """`url`: empty: SQLite in the data folder."""
        self._url = url
        self._file = data / "metastore.db"

    def rows(self, sql: str) -> list[Row]:
        """The rows of a query, while a server runs."""
        if self._url:
            import psycopg  # only where it is what is tested

            with psycopg.connect(self._url) as connection:
                return list(connection.execute(sql).fetchall())
        with contextlib.closing(sqlite3.connect(f"file:{self._file}?mode=ro", uri=True)) as found:
            return found.execute(sql).fetchall()

    def rows_of_the_dead(self, sql: str) -> list[Row]:
        """The same of a server that was killed; of a copy, so that recovery is left to the next."""
        if self._url:
            return self.rows(sql)
        if not self._file.exists():
            return []
        with tempfile.TemporaryDirectory(dir=self._file.parent.parent) as folder:
            for suffix in ("", "-wal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy(f"{self._file}{suffix}", Path(folder) / f"copy.db{suffix}")
            with contextlib.closing(sqlite3.connect(Path(folder) / "copy.db")) as found:
                return found.execute(sql).fetchall()

    def changes(self) -> list[Change]:
        """The whole change log."""
        sql = (
            "SELECT revision, uid, before, after FROM change WHERE kind = 'experiment'"
            " ORDER BY revision, ordinal"
        )
        return [
            Change(revision, uid, _parse(before), _parse(after))
            for revision, uid, before, after in self.rows(sql)
        ]


def new_database(url: str, name: str) -> str:
    """Makes an empty database beside the one of a URL; returns its URL."""
    import psycopg
    from psycopg import sql

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def drop_database(url: str, name: str) -> None:
    """Removes one that `new_database` made."""
    import psycopg
    from psycopg import sql

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} (FORCE)").format(sql.Identifier(name)))


def lines(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """The facts that a client wrote down."""
    with contextlib.suppress(FileNotFoundError), open(folder / f"{name}.jsonl") as file:
        for line in file:
            yield json.loads(line)


def ledger(folder: Path) -> list[tuple[str, str, int]]:
    """What the workloads wrote, in order: `start` or `end`, the task's uid, its pid or code."""
    try:
        text = (folder / "ledger").read_text()
    except FileNotFoundError:
        return []
    found = [line.split() for line in text.splitlines()]
    return [(what, task, int(number)) for what, task, number in found]


def split(task_uid: str) -> tuple[str, int, str]:
    """The experiment's uid, the attempt, and the task of a task's uid."""
    uid, attempt, task = task_uid.split("-", 2)
    return uid, int(attempt), task


def _parse(body: bytes | None) -> Experiment | None:
    return None if body is None else Experiment.FromString(bytes(body))
