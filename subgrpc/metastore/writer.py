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
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from subgrpc.errors import Unavailable
from subgrpc.metastore.database import DatabaseFailed, WriteDatabase
from subgrpc.metastore.records import Change, Fence
from subgrpc.metastore.statements import Statements
from subgrpc.metastore.transaction import Transaction

T = TypeVar("T")
Mutation = Callable[[Transaction], T]
Publish = Callable[[int, Sequence[Change]], None]

GROUP = 256
"""How many mutations are committed together at most."""


class _Job(NamedTuple):
    mutation: Mutation[Any]
    fence: Fence | None
    versioned: bool
    future: asyncio.Future[Any]


class _Outcome(NamedTuple):
    future: asyncio.Future[Any]
    result: Any
    error: BaseException | None


class Writer:
    """Runs mutations in the order in which they were submitted."""

    def __init__(self, database: WriteDatabase, statements: Statements, publish: Publish) -> None:
        """Starts the thread.

        Args:
            database: used by the thread alone from now on.
            statements: for the transactions.
            publish: called on the event loop after each commit that made revisions, with the
                last of them and the changes, before its callers go on.
        """
        self._database = database
        self._statements = statements
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed: asyncio.Future[None] | None = None
        self._drained = self._loop.create_future()
        threading.Thread(target=self._run, name="metastore-writer", daemon=True).start()

    async def submit(self, mutation: Mutation[T], fence: Fence | None, versioned: bool) -> T:
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
        self._jobs.put(_Job(mutation, fence, versioned, future))
        return await future

    async def close(self) -> None:
        """Carries out what was submitted, takes nothing more, and ends the thread."""
        if self._closed is None:
            self._closed = self._drained
            self._jobs.put(None)
        await asyncio.shield(self._drained)

    def _run(self) -> None:
        """The thread: groups until there is a None."""
        group: list[_Job] = []
        while (job := self._jobs.get()) is not None:
            group.append(job)
            with contextlib.suppress(queue.Empty):
                while len(group) < GROUP and (job := self._jobs.get_nowait()) is not None:
                    group.append(job)
            self._commit(group)
            group = []
            if job is None:
                break
        self._database.close()
        self._tell(self._drained.set_result, None)

    def _commit(self, group: Sequence[_Job]) -> None:
        outcomes: list[_Outcome] = []
        changes: list[Change] = []
        revision = 0
        try:
            self._database.begin()
            for job in group:
                if not job.future.cancelled():
                    outcome, made = self._apply(job, changes)
                    outcomes.append(outcome)
                    revision = made or revision
            self._database.commit()
        except BaseException as error:
            self._database.rollback()
            cause = error.error if isinstance(error, DatabaseFailed) else error
            outcomes = [_Outcome(each.future, None, copy.copy(cause)) for each in group]
            revision, changes = 0, []
        self._tell(self._deliver, outcomes, revision, changes)

    def _apply(self, job: _Job, changes: list[Change]) -> tuple[_Outcome, int]:
        """Runs one mutation in its savepoint; returns its outcome and the revision that it made."""
        database, revision = self._database, 0
        database.savepoint()
        try:
            if job.versioned:
                revision = database.all(self._statements.next_revision)[0][0]
            now = time.time_ns() // 1_000
            transaction = Transaction(database, self._statements, revision, now)
            if job.fence is not None:
                transaction.check_fence(job.fence)
            result = job.mutation(transaction)
        except DatabaseFailed:
            raise
        except BaseException as error:
            database.undo()
            return _Outcome(job.future, None, error), 0
        if not transaction.wrote:
            database.undo()
            return _Outcome(job.future, result, None), 0
        database.release()
        changes += transaction.changes
        return _Outcome(job.future, result, None), revision

    def _deliver(
        self, outcomes: Sequence[_Outcome], revision: int, changes: Sequence[Change]
    ) -> None:
        """On the event loop: the change feed first, then the callers."""
        if revision:
            self._publish(revision, changes)
        for future, result, error in outcomes:
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(_storable(error))

    def _tell(self, function: Callable[..., object], *arguments: Any) -> None:
        """Calls a function on the event loop, if there still is one."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)


def _storable(error: BaseException) -> BaseException:
    """A future takes no StopIteration, and what ends a thread must not end the event loop."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"a mutation raised {error!r}")
    wrapped.__cause__ = error
    return wrapped


def _closing() -> Unavailable:
    return Unavailable("the metastore is closing", reason="METASTORE_UNAVAILABLE", retry_after=1.0)
