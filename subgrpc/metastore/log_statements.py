"""The statements of `subgrpc.metastore.logs`, compiled for one dialect."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    cast,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy import bindparam as at
from sqlalchemy.engine import Dialect

from subgrpc.metastore.compiling import compiled
from subgrpc.metastore.tables import table

_log = table("log")
_ZERO: ColumnElement[int] = literal_column("0")


class LogStatements:
    """The statements; each says its parameters in order, an insert takes the table's columns."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        it = _log.c
        key = (it.experiment_uid == at("_uid"), it.attempt == at("_attempt"))
        servers = (it.server >= at("first"), it.server <= at("last"))
        columns = tuple(each.name for each in _log.columns)
        self.insert = f"{self._sql(insert(_log), *columns)} ON CONFLICT DO NOTHING"
        self.get = self._sql(select(_log).where(*key), "_uid", "_attempt")
        self.of = self._sql(select(_log).where(it.experiment_uid == at("_uid")), "_uid")
        self.delete = self._sql(delete(_log).where(it.experiment_uid == at("_uid")), "_uid")
        written = ("state", "size", "digests", "body")
        self.update = self._sql(
            update(_log)
            .ordered_values(*((it[each], at(f"new_{each}")) for each in written))
            .where(*key),
            *(f"new_{each}" for each in written),
            *("_uid", "_attempt"),
        )
        self.release = self._sql(update(_log).values(local=_ZERO).where(*key), "_uid", "_attempt")
        order = (it.end_time, it.experiment_uid, it.attempt)
        self.pending = self._sql(
            select(*order)
            .where(text("state = 0"), *servers)
            .order_by(*order)
            .limit(at("limit"))
            .offset(_ZERO),
            *("first", "last", "limit"),
        )
        self.local = self._page(
            select(it.experiment_uid, it.attempt, it.end_time, it.size, it.state).where(
                text("local = 1"), *servers, text("state > 0")
            ),
            *("first", "last"),
        )
        self.expired = self._sql(
            select(it.experiment_uid, it.attempt)
            .where(text("local = 1 AND state = 2"), *servers)
            .limit(at("limit"))
            .offset(_ZERO),
            *("first", "last", "limit"),
        )
        self.local_size = self._sql(
            select(cast(func.coalesce(func.sum(it.size), _ZERO), BigInteger)).where(
                text("local = 1"), *servers
            ),
            *("first", "last"),
        )
        self.kept = self._page(
            select(_log).where(text("state < 2"), it.end_time < at("before")), "before"
        )

    def _page(self, statement: Any, *parameters: str) -> str:
        """Of servers or a time, oldest end first: takes that, how many, and how many to leave out.

        What is looked for is changed by those who look, or skipped by them: it is not a list.
        """
        it = _log.c
        ordered = statement.order_by(it.end_time, it.experiment_uid, it.attempt)
        return self._sql(
            ordered.limit(at("limit")).offset(at("skip")), *parameters, "limit", "skip"
        )

    def _sql(self, statement: Any, *parameters: str) -> str:
        return compiled(statement, self._dialect, parameters)
