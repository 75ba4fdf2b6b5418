"""The one thread that writes: it commits what has come together meanwhile as one group.

Each mutation runs within a savepoint of the group's transaction, so that one that fails undoes
only itself; the group is durable before any caller of it hears of its success. What fails in the
database itself fails the whole group, and nothing of it is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

from subgrpc import faults
from subgrpc.errors import Unavailable
from subgrpc.metastore.database import DatabaseFailed, WriteDatabase
from subgrpc.metastore.records import Change, Fence, RequestKey
from subgrpc.metastore.statements import Statements
from subgrpc.metastore.transaction import Asked, Transaction

T = TypeVar("T")
Mutation = Callable[[Transaction], T]
Asking: TypeAlias = "RequestKey | None"
Publish = Callable[[int, int, Sequence[Change]], None]

GROUP = 256
"""No more mutations are gathered once there are so many."""
MANY = 8
"""So many mutations on their way at once are a crowd, for which a group waits."""
PATIENCE = 0.005
"""Seconds that a group waits for a crowd's mutations, at most."""


class _Job(NamedTuple):
    mutation: Mutation[Any]
    fence: Fence | None
    versioned: bool
    ordered: bool
    request: RequestKey | None
    future: asyncio.Future[Any]


@dataclass(slots=True)
class _Outcome:
    future: asyncio.Future[Any]
    result: Any
    error: BaseException | None
    changes: Sequence[Change] = ()

    def refuse(self, error: BaseException) -> None:
        """It was not kept after all: its revision is one without changes."""
        self.result, self.error, self.changes = None, error, ()


class Writer:
    """Runs mutations in the order in which they were submitted."""

    def __init__(
        self,
        database: WriteDatabase,
        statements: Statements,
        publish: Publish,
        clock: Callable[[], int],
    ) -> None:
        """Starts the thread.

        Args:
            database: used by the thread alone from now on.
            statements: for the transactions.
            publish: called on the event loop after each commit that made revisions, with the
                revision before them, the last of them and the changes, before its callers go on.
            clock: the time of transactions, in µs.
        """
        self._clock = clock
        self._database = database
        self._statements = statements
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._gathered: list[_Job] = []
        self._crowd = _Crowd()
        self._going: asyncio.Handle | None = None
        self._soon = False
        self._groups: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        self._closed: asyncio.Future[None] | None = None
        self._drained = self._loop.create_future()
        self._start()

    async def submit(
        self,
        mutation: Mutation[T],
        fence: Fence | None,
        versioned: bool,
        ordered: bool = False,
        request: Asking = None,
    ) -> T:
        """Runs a mutation and returns its result once it is durable.

        A caller that is cancelled while its mutation waits takes it back; later it is carried
        out, whole, and nobody is told.

        Raises:
            Unavailable: METASTORE_UNAVAILABLE, nothing of it was kept.
            Aborted: LEASE_LOST.
            Exception: whatever the mutation raises; nothing of it was kept.
        """
        if self._closed is not None:
            raise _closing()
        future: asyncio.Future[T] = self._loop.create_future()
        self._gathered.append(_Job(mutation, fence, versioned, ordered, request, future))
        with self._crowd:
            self._gather()
            return await future

    async def close(self) -> None:
        """Carries out what was submitted, takes nothing more, and ends the thread."""
        if self._closed is None:
            self._closed = self._drained
            self._hand_over()
            self._groups.put(None)
        await asyncio.shield(self._drained)

    def _start(self) -> None:
        threading.Thread(target=self._run, name="metastore-writer", daemon=True).start()

    def _gather(self) -> None:
        """Sees to it that what is gathered is handed over: soon, or once it is half of a crowd's.

        What many callers want at the same time then costs one commit and not many: each costs
        round trips, a flush to the disk, and both threads their turns at the interpreter. While
        one half is committed, the other is prepared.
        """
        count, enough = len(self._gathered), min(self._crowd.most // 2, self._database.enough)
        if self._soon:
            return
        if self._crowd.most < MANY or count >= enough:
            if self._going is not None:
                self._going.cancel()
            self._soon, self._going = True, self._loop.call_soon(self._go)
        elif self._going is None:
            self._going = self._loop.call_later(PATIENCE, self._go)

    def _go(self) -> None:
        self._soon, self._going = False, None
        self._crowd.shrink()
        self._hand_over()

    def _hand_over(self) -> None:
        if self._gathered:
            self._groups.put(self._gathered)
            self._gathered = []

    def _run(self) -> None:
        """The thread: groups until there is a None; those that wait go together."""
        following: list[_Job] | None = []
        while following is not None and (group := self._groups.get()) is not None:
            with contextlib.suppress(queue.Empty):
                while len(group) < GROUP and (following := self._groups.get_nowait()) is not None:
                    group += following
            self._commit(group)
        self._database.close()
        self._tell(self._drained.set_result, None)

    def _commit(self, group: Sequence[_Job]) -> None:
        outcomes: list[_Outcome] = []
        revisions = _Revisions(self._database, self._statements)
        asked: Asked = {}
        try:
            self._database.begin()
            if any(job.versioned or job.ordered for job in group):
                # Every writer takes its locks in the same order: this one is the first.
                revisions.next()
                asked = self._ask(group)
            outcomes += (
                self._apply(job, revisions, asked) for job in group if not job.future.cancelled()
            )
            revisions.store()
            faults.point("commit.before")
            self._database.commit(revisions.last)
            faults.point("commit.after")
        except BaseException as error:
            self._database.rollback()
            cause = error.error if isinstance(error, DatabaseFailed) else error
            outcomes = [_Outcome(each.future, None, copy.copy(cause)) for each in group]
            revisions.last = 0
        self._tell(self._deliver, outcomes, revisions)

    def _ask(self, group: Sequence[_Job]) -> Asked:
        """Looks up the requests of a group: one by one, each would take a round trip.

        It holds the mutex of all writers, so that nobody can add to what is found.
        """
        keys = list(dict.fromkeys(job.request for job in group if job.request))
        if len(keys) < 2:
            return {}
        return dict(zip(keys, self._database.each(self._statements.request, keys), strict=True))

    def _apply(self, job: _Job, revisions: _Revisions, asked: Asked) -> _Outcome:
        """Runs one mutation in its savepoint; returns its outcome."""
        database = self._database
        revision = revisions.next() if job.versioned else 0
        database.savepoint()
        try:
            transaction = Transaction(database, self._statements, revision, self._clock(), asked)
            if job.fence is not None:
                transaction.check_fence(job.fence)
            result = job.mutation(transaction)
        except DatabaseFailed:
            raise
        except BaseException as error:
            database.undo()
            return _Outcome(job.future, None, error)
        if not transaction.wrote:
            database.undo()
            return _Outcome(job.future, result, None)
        outcome = _Outcome(job.future, result, None, transaction.changes)
        database.release(outcome.refuse)
        revisions.last = revision or revisions.last
        return outcome

    def _deliver(self, outcomes: Sequence[_Outcome], revisions: _Revisions) -> None:
        """On the event loop: the change feed first, then the callers."""
        if revisions.last:
            changes = [change for each in outcomes for change in each.changes]
            self._publish(revisions.first - 1, revisions.last, changes)
        for each in outcomes:
            if each.future.done():
                continue
            if each.error is None:
                each.future.set_result(each.result)
            else:
                each.future.set_exception(_storable(each.error))

    def _tell(self, function: Callable[..., object], *arguments: Any) -> None:
        """Calls a function on the event loop, if there still is one."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)


class _Crowd:
    """The mutations that are on their way, as far as their callers still wait.

    Attributes:
        most: how many there were at a time, lately.
    """

    def __init__(self) -> None:
        self.most = 0
        self._now = 0

    def __enter__(self) -> None:
        self._now += 1
        self.most = max(self.most, self._now)

    def __exit__(self, *_: object) -> None:
        self._now -= 1

    def shrink(self) -> None:
        """Forgets some of those that were: a group goes."""
        self.most = max(self._now, self.most - 1 - self.most // 8)


class _Revisions:
    """The revisions of one group: counted here, so that their row is not written for each.

    Attributes:
        first: the first that can be made; 0: it is not known yet.
        last: the last that was made; 0: none was.
    """

    def __init__(self, database: WriteDatabase, statements: Statements) -> None:
        self.first = 0
        self.last = 0
        self._database = database
        self._statements = statements

    def next(self) -> int:
        """The one that comes next: the same again if no mutation makes it."""
        if not self.first:
            # Outside of savepoints: this is also the mutex of all writers.
            self.first = self._database.all(self._statements.next_revision)[0][0]
        return self.last + 1 if self.last else self.first

    def store(self) -> None:
        """Stores the last one, before the group is committed."""
        last = self.last or self.first - 1
        if self.first and last != self.first:
            self._database.run(self._statements.set_revision, (last,))


def _storable(error: BaseException) -> BaseException:
    """A future takes no StopIteration, and what ends a thread must not end the event loop."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"a mutation raised {error!r}")
    wrapped.__cause__ = error
    return wrapped


def _closing() -> Unavailable:
    return Unavailable("the metastore is closing", reason="METASTORE_UNAVAILABLE", retry_after=1.0)
