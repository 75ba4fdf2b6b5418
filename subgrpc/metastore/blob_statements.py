"""The statements of `subgrpc.metastore.blobs`, compiled for one dialect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    cast,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy import bindparam as at
from sqlalchemy.engine import Dialect

from subgrpc.metastore.tables import table

MANY: Final = 200
"""How many keys the long form of a statement takes; what is over is filled with repeats."""
_ZERO: ColumnElement[int] = literal_column("0")
_ONE: ColumnElement[int] = literal_column("1")


class ManyKeys(NamedTuple):
    """A statement whose last parameters are keys.

    Attributes:
        one: takes one key.
        many: takes `MANY`.
    """

    one: str
    many: str


class BlobStatements:
    """The statements; each says its parameters in order."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        it, blob, use = table("object"), table("blob"), table("artifact_object")
        there = (it.c.condemned_time == _ZERO, it.c.ready == _ONE)
        place = (blob.c.digest, blob.c.object_id, it.c.sha256, blob.c.start, blob.c.size)
        self.places = self._keyed(
            lambda keys: (
                select(*place)
                .select_from(blob.join(it, it.c.id == blob.c.object_id))
                .where(*there, blob.c.digest.in_(keys))
            )
        )
        of = use.c.artifact_uid == at("uid")
        used = blob.join(it, it.c.id == blob.c.object_id).join(use, use.c.object_id == it.c.id)
        self.places_of = self._keyed(
            lambda keys: select(*place).select_from(used).where(of, blob.c.digest.in_(keys)),
            "uid",
        )
        self.touch = self._keyed(
            lambda keys: (
                update(it)
                .values(touch_time=at("now"))
                .where(it.c.touch_time < at("before"), it.c.id.in_(keys))
            ),
            *("now", "before"),
        )
        self.take = self._keyed(
            lambda keys: (
                update(it)
                .values(users=it.c.users + _ONE)
                .where(*there, it.c.id.in_(keys))
                .returning(it.c.id)
            )
        )
        self.reserve = self._sql(insert(it), *(each.name for each in it.columns))
        self.publish = self._sql(
            update(it)
            .ordered_values((it.c.ready, _ONE), (it.c.touch_time, at("now")))
            .where(it.c.id == at("key"), it.c.condemned_time == _ZERO)
            .returning(it.c.id),
            *("now", "key"),
        )
        gone = select(it.c.id).where(it.c.condemned_time > _ZERO)
        self.delete_stale = self._keyed(
            lambda keys: delete(blob).where(blob.c.digest.in_(keys), blob.c.object_id.in_(gone))
        )
        insert_blob = self._sql(insert(blob), *(each.name for each in blob.columns))
        self.insert_blob = f"{insert_blob} ON CONFLICT DO NOTHING"
        self.use = self._sql(insert(use), *(each.name for each in use.columns))
        self.used = self._sql(select(use.c.object_id).where(of), "uid")
        self.used_of = self._keyed(
            lambda keys: select(use.c.object_id).where(of, use.c.object_id.in_(keys)), "uid"
        )
        self.let_go = self._keyed(
            lambda keys: (
                update(it)
                .ordered_values((it.c.users, it.c.users - _ONE), (it.c.touch_time, at("now")))
                .where(it.c.id.in_(keys))
            ),
            "now",
        )
        self.delete_uses = self._sql(delete(use).where(of), "uid")
        unused = it.c.users == _ZERO
        oldest = (it.c.touch_time, it.c.id)
        self.condemn = self._sql(
            update(it)
            .values(condemned_time=at("now"))
            .where(
                it.c.id.in_(
                    select(it.c.id)
                    .where(unused, it.c.condemned_time == _ZERO, it.c.touch_time < at("before"))
                    .order_by(*oldest)
                    .limit(at("limit"))
                    .offset(_ZERO)
                )
            )
            .returning(it.c.id),
            *("now", "before", "limit"),
        )
        self.condemned = self._sql(
            select(it.c.id, it.c.sha256, it.c.size)
            .where(unused, it.c.condemned_time > _ZERO, it.c.condemned_time < at("before"))
            .order_by(*oldest)
            .limit(at("limit"))
            .offset(_ZERO),
            *("before", "limit"),
        )
        self.count_unused = self._sql(
            select(func.count()).where(
                unused, it.c.condemned_time == _ZERO, it.c.touch_time < at("before")
            ),
            "before",
        )
        self.count_condemned = self._sql(
            select(func.count(), cast(func.coalesce(func.sum(it.c.size), _ZERO), BigInteger)).where(
                unused, it.c.condemned_time > _ZERO, it.c.condemned_time < at("before")
            ),
            "before",
        )
        self.delete_blobs = self._sql(delete(blob).where(blob.c.object_id == at("key")), "key")
        self.delete_object = self._sql(
            delete(it).where(it.c.id == at("key"), it.c.condemned_time > _ZERO), "key"
        )
        self.known = self._keyed(lambda keys: select(it.c.id).where(it.c.id.in_(keys)))

    def _keyed(self, make: Callable[[Any], Any], *parameters: str) -> ManyKeys:
        def sql(count: int) -> str:
            names = [f"k{number}" for number in range(count)]
            return self._sql(make([at(name) for name in names]), *parameters, *names)

        return ManyKeys(sql(1), sql(MANY))

    def _sql(self, statement: Any, *parameters: str) -> str:
        found = statement.compile(dialect=self._dialect)
        order = tuple(found.positiontup or ())
        assert order == parameters, (order, parameters, str(found))
        return str(found)
