"""Looks for broken invariants in a metastore: read-only, on any database, while servers run.

Each check says in its code what is broken. `Audit` reads everything in one transaction, a window
of experiments at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from sqlalchemy import Connection, Row, Table, exists, func, select

from subgrpc.filters import micros
from subgrpc.metastore.audit_logs import log_problems
from subgrpc.metastore.logs import LogState
from subgrpc.metastore.tables import table
from subgrpc.metastore.transaction import ENDED
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentEvent, ExperimentState, Task

WINDOW = 500
"""Experiments that are looked at at a time."""
PARTS = ("label", "event", "attempt", "task", "log")
"""Tables whose rows belong to an experiment."""


class Problem(NamedTuple):
    """A broken invariant.

    Attributes:
        code: which, in upper case: see docs/operations.md.
        where: the resource, row or file.
        message: what was found, and what should be.
    """

    code: str
    where: str
    message: str


class Kept(NamedTuple):
    """An attempt whose journal should be there.

    Attributes:
        complete: all of its output is in it.
        server: on whose disk; empty: of the only server.
        stored: whether it need not be on the disk: the artifact store has it, or it expired.
    """

    uid: str
    attempt: int
    complete: bool
    server: str
    stored: bool


class Audit:
    """One look at a metastore.

    Attributes:
        experiments: how many there are; filled by `problems`.
        kept: every attempt; filled by `problems`.
    """

    def __init__(self, connection: Connection) -> None:
        """The connection is in a transaction that sees one state of the database."""
        self.experiments = 0
        self.kept: list[Kept] = []
        self._connection = connection

    def problems(self) -> Iterator[Problem]:
        """Yields everything that is wrong."""
        rows = self._rows(select(table("meta")))
        if len(rows) != 1:
            yield Problem("META", "table meta", f"it has {len(rows)} rows, not 1")
            return
        meta = rows[0]
        yield from self._changes(meta.revision, meta.pruned)
        yield from self._orphans()
        after = ""
        while window := self._window(after):
            yield from self._experiments(window, meta.revision)
            after = window[-1].uid

    def _rows(self, statement: Any) -> Sequence[Row[Any]]:
        return self._connection.execute(statement).all()

    def _window(self, after: str) -> Sequence[Row[Any]]:
        experiment = table("experiment")
        return self._rows(
            select(experiment)
            .where(experiment.c.uid > after)
            .order_by(experiment.c.uid)
            .limit(WINDOW)
        )

    def _changes(self, revision: int, pruned: int) -> Iterator[Problem]:
        """Revisions have no holes, from the oldest that is kept to the last that was given out."""
        change = table("change").c
        counted = select(
            func.count(change.revision.distinct()),
            func.min(change.revision),
            func.max(change.revision),
        )
        count, first, last = tuple(self._rows(counted)[0])
        if pruned > revision:
            text = f"changes up to {pruned} were removed, but the last revision is {revision}"
            yield Problem("REVISION", "table meta", text)
        if not count:
            if revision > pruned:
                text = f"revisions {pruned + 1} to {revision} have no change"
                yield Problem("REVISION_HOLE", "table change", text)
            return
        if last > revision:
            text = f"there is a change of revision {last}, but the last given out is {revision}"
            yield Problem("REVISION", "table change", text)
        if first > pruned + 1 or last < revision or last - first + 1 != count:
            text = (
                f"{count} revisions from {first} to {last}; there should be all from {pruned + 1} "
                f"to {revision}"
            )
            yield Problem("REVISION_HOLE", "table change", text)

    def _orphans(self) -> Iterator[Problem]:
        """Rows of experiments that are not there."""
        owner = table("experiment")
        for name in PARTS:
            part = table(name)
            missing = ~exists().where(owner.c.uid == part.c.experiment_uid)
            found = select(part.c.experiment_uid, func.count()).where(missing)
            for uid, count in map(tuple, self._rows(found.group_by(part.c.experiment_uid))):
                text = f"{count} rows belong to an experiment that is not there"
                yield Problem("ORPHAN_ROWS", f"table {name}, experiment {uid}", text)

    def _experiments(self, window: Sequence[Row[Any]], revision: int) -> Iterator[Problem]:
        uids = [row.uid for row in window]
        parts = {name: self._parts(table(name), uids) for name in PARTS}
        changed = self._last_changes(uids)
        for row in window:
            self.experiments += 1
            mine = {name: of[row.uid] for name, of in parts.items()}
            self.kept += _kept(mine["attempt"], mine["log"])
            where = f"teams/{row.team}/experiments/{row.experiment_id} ({row.uid})"
            try:
                experiment = Experiment.FromString(row.body)
            except DecodeError as error:
                yield Problem("BODY", where, f"it cannot be read: {error}")
                continue
            look = _Look(where, row, experiment, mine)
            yield from look.problems()
            for code, text in log_problems(self._connection, mine["attempt"], mine["log"]):
                yield Problem(code, where, text)
            if row.revision > revision:
                text = f"its revision {row.revision} is after the last, {revision}"
                yield Problem("REVISION", where, text)
            if row.uid in changed and changed[row.uid] != row.body:
                text = "it is not what its last change says"
                yield Problem("CHANGE", where, text)

    def _parts(self, part: Table, uids: Sequence[str]) -> dict[str, list[Row[Any]]]:
        found: dict[str, list[Row[Any]]] = defaultdict(list)
        rows = self._rows(
            select(part).where(part.c.experiment_uid.in_(uids)).order_by(*part.primary_key.columns)
        )
        for row in rows:
            found[row.experiment_uid].append(row)
        return found

    def _last_changes(self, uids: Sequence[str]) -> dict[str, bytes | None]:
        """What the last change that is kept made of each experiment."""
        experiment, change = table("experiment").c, table("change").c
        rows = self._rows(
            select(change.uid, change.after)
            .where(
                experiment.uid.in_(uids),
                change.revision == experiment.revision,
                change.uid == experiment.uid,
            )
            .order_by(change.ordinal)
        )
        return {row.uid: row.after for row in rows}


def _kept(attempts: Sequence[Row[Any]], logs: Sequence[Row[Any]]) -> Iterator[Kept]:
    stored = {row.attempt for row in logs if row.state != LogState.PENDING}
    for row in attempts:
        complete = bool(row.logs_complete)
        yield Kept(
            row.experiment_uid, row.number, complete, row.journal_server, row.number in stored
        )


class _Look:
    """A look at one experiment."""

    def __init__(
        self,
        where: str,
        row: Row[Any],
        experiment: Experiment,
        parts: dict[str, list[Row[Any]]],
    ) -> None:
        self._where = where
        self._row = row
        self._experiment = experiment
        self._parts = parts

    def problems(self) -> Iterator[Problem]:
        yield from self._columns()
        yield from self._labels()
        yield from self._events()
        yield from self._attempts()
        yield from self._tasks()

    def _problem(self, code: str, message: str) -> Problem:
        return Problem(code, self._where, message)

    def _columns(self) -> Iterator[Problem]:
        """What lists are ordered and filtered by is what the message says."""
        row, it = self._row, self._experiment
        _, team, _, experiment_id = (*it.name.split("/"), "", "", "", "")[:4]
        wanted = {
            "uid": it.uid,
            "team": team,
            "experiment_id": experiment_id,
            "state": it.state,
            "reason": it.reason,
            "cluster": it.cluster,
            "creator": it.creator,
            "display_name": it.display_name,
            "create_time": micros(it.create_time),
            "update_time": micros(it.update_time),
            "end_time": micros(it.end_time) if it.HasField("end_time") else 0,
            "active": int(it.state not in ENDED),
        }
        for name, value in wanted.items():
            if getattr(row, name) != value:
                text = f"column {name} is {getattr(row, name)!r}, the message has {value!r}"
                yield self._problem("COLUMN", text)
        if it.etag != f"{row.revision:x}":
            text = f"its etag {it.etag!r} is not that of its revision {row.revision}"
            yield self._problem("COLUMN", text)

    def _labels(self) -> Iterator[Problem]:
        found = {row.key: row.value for row in self._parts["label"]}
        if found != dict(self._experiment.labels):
            text = f"the rows of its labels are {found}, the message has other ones"
            yield self._problem("LABELS", text)

    def _events(self) -> Iterator[Problem]:
        """The history has no holes, and its last entry is of the state that it is in."""
        rows = self._parts["event"]
        numbers = [row.sequence for row in rows]
        if numbers != list(range(1, len(rows) + 1)):
            yield self._problem("EVENT_HOLE", f"its events are numbered {_short(numbers)}")
        try:
            events = [ExperimentEvent.FromString(row.body) for row in rows]
        except DecodeError as error:
            yield self._problem("BODY", f"an event cannot be read: {error}")
            return
        if not events:
            yield self._problem("EVENT_HOLE", "it has no history")
        elif events[-1].state != self._experiment.state:
            text = f"it is {_word(self._experiment)}, but its last event says {_word(events[-1])}"
            yield self._problem("STATE", text)

    def _attempts(self) -> Iterator[Problem]:
        """They have no holes; only the last one may be under way, and none of one that ended."""
        rows, it = self._parts["attempt"], self._experiment
        numbers = [row.number for row in rows]
        if numbers != list(range(1, it.attempt + 1)):
            text = f"it is at attempt {it.attempt}, and has attempts {_short(numbers)}"
            yield self._problem("ATTEMPT_HOLE", text)
        open_ones = [row.number for row in rows if row.end_time is None]
        if open_ones and (it.state in ENDED or open_ones != numbers[-1:]):
            text = f"it is {_word(it)}, and attempts {_short(open_ones)} have not ended"
            yield self._problem("ATTEMPT_OPEN", text)
        for row in rows:
            if row.settled and (row.end_time is None or not row.logs_complete):
                text = f"attempt {row.number} is settled, but not over"
                yield self._problem("ATTEMPT", text)
            if row.cluster != it.cluster:
                text = f"attempt {row.number} is on {row.cluster}, it is on {it.cluster}"
                yield self._problem("ATTEMPT", text)

    def _tasks(self) -> Iterator[Problem]:
        numbers = {row.number for row in self._parts["attempt"]}
        for row in self._parts["task"]:
            name = f"task {row.role}-{row.number} of attempt {row.attempt}"
            if row.attempt not in numbers:
                yield self._problem("ORPHAN_ROWS", f"{name}: there is no such attempt")
            try:
                status = Task.FromString(row.body).status
            except DecodeError as error:
                yield self._problem("BODY", f"{name} cannot be read: {error}")
                continue
            if (status.role, status.index, status.state) != (row.role, row.number, row.state):
                yield self._problem("COLUMN", f"{name}: its columns are not those of its message")


def _word(it: Experiment | ExperimentEvent) -> str:
    return ExperimentState.Name(it.state).removeprefix("EXPERIMENT_STATE_")


def _short(numbers: Sequence[int]) -> str:
    text = ", ".join(str(number) for number in numbers[:20])
    return f"[{text}{', …' if len(numbers) > 20 else ''}]"
