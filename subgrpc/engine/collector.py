"""Collects the output of attempts into the log journal: once, in order, all of it.

The journal knows how far each stream of each task has come, so a collector that is started again
goes on there: nothing is lost and nothing is stored twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from subgrpc.driver import Driver, LogGap, Run, TaskKey
from subgrpc.ending import end
from subgrpc.errors import FailedPrecondition, NotFound, Unavailable
from subgrpc.journal import JournalStore, JournalWriter
from subgrpc.v1.types_pb2 import LogStream

FIRST_BACKOFF = 0.1
"""Seconds before the first new try when the driver or the disk fails."""
LAST_BACKOFF = 10.0
"""Greatest number of seconds between two tries."""

_STREAMS = (LogStream.LOG_STREAM_STDOUT, LogStream.LOG_STREAM_STDERR)
_log = structlog.get_logger(__name__)

RunKey = tuple[str, int]


def run_key(run: Run) -> RunKey:
    """(experiment uid, attempt number)."""
    return run.experiment_uid, run.attempt


@dataclass(slots=True)
class _Collection:
    """One attempt's collection: its journal, and a task for every stream that is being read.

    Attributes:
        sealing: the journal is being sealed in a thread, which cannot be cancelled.
    """

    writer: JournalWriter
    sealing: asyncio.Task[None] | None = None
    readers: dict[tuple[TaskKey, int], asyncio.Task[None]] = field(default_factory=dict)


class LogCollector:
    """Reads the output of every attempt of one cluster."""

    def __init__(self, driver: Driver, journals: JournalStore, done: Callable[[str], None]) -> None:
        """`done` is called with the experiment's uid whenever a stream has come to its end."""
        self._driver = driver
        self._journals = journals
        self._done = done
        self._collections: dict[RunKey, _Collection] = {}

    def ensure(self, run: Run, tasks: Iterable[TaskKey]) -> None:
        """Sees to it that the output of these tasks is being collected, or has been.

        Raises:
            Unavailable: the journal cannot be opened now.
        """
        collection = self._collections.get(run_key(run))
        if collection is None:
            collection = _Collection(self._journals.writer(*run_key(run)))
            self._collections[run_key(run)] = collection
        for task in tasks:
            for stream in _STREAMS:
                if (task, stream) not in collection.readers:
                    collection.readers[task, stream] = asyncio.create_task(
                        self._collect(collection.writer, run, task, stream),
                        name=f"logs {run.experiment_uid}/{run.attempt} {task} {stream}",
                    )

    def finished(self, run: Run) -> bool:
        """Whether every stream that `ensure` started has come to its end."""
        collection = self._collections.get(run_key(run))
        return collection is None or all(reader.done() for reader in collection.readers.values())

    async def seal(self, run: Run) -> None:
        """Makes the journal of an attempt durable and complete: no more output will come.

        Raises:
            Unavailable: the disk refuses it now.
        """
        self.ensure(run, ())
        collection = self._collections[run_key(run)]
        collection.sealing = asyncio.create_task(asyncio.to_thread(collection.writer.seal))
        await asyncio.shield(collection.sealing)
        collection.writer.close()
        del self._collections[run_key(run)]

    async def abandon(self, run: Run) -> None:
        """Stops collecting an attempt whose output nobody wants any more."""
        collection = self._collections.pop(run_key(run), None)
        if collection is not None:
            await _end(collection)

    async def close(self) -> None:
        """Stops collecting; another collector goes on where this one was."""
        collections = list(self._collections.values())
        self._collections.clear()
        for collection in collections:
            await _end(collection)

    async def _collect(
        self, writer: JournalWriter, run: Run, task: TaskKey, stream: LogStream.ValueType
    ) -> None:
        backoff = FIRST_BACKOFF
        while True:
            try:
                await self._copy(writer, run, task, stream)
                break
            except (NotFound, FailedPrecondition):
                break  # the backend has nothing more of it, or the journal is complete or deleted
            except Unavailable as error:
                _log.warning("logs.retry", run=run_key(run), task=str(task), error=error.message)
            except Exception:
                # Ending here would pass for "all was collected", and the source be deleted.
                _log.exception("logs.failed", run=run_key(run), task=str(task))
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LAST_BACKOFF)
        # The caller asks `finished` only after this task is done.
        asyncio.get_running_loop().call_soon(self._done, run.experiment_uid)

    async def _copy(
        self, writer: JournalWriter, run: Run, task: TaskKey, stream: LogStream.ValueType
    ) -> None:
        name = str(task)
        start = writer.offset(name, stream)
        async for piece in self._driver.logs(run, task, stream, start, follow=True):
            known = writer.offset(name, stream)
            if piece.offset > known:
                missing = piece.offset - known
                writer.gap(name, stream, known, missing, "the driver left these bytes out")
            if isinstance(piece, LogGap):
                writer.gap(name, stream, piece.offset, piece.length, piece.message)
            else:
                writer.append(name, stream, piece.offset, piece.data, time.time_ns() // 1000)
            await asyncio.sleep(0)  # a task that floods its output must not hold the event loop


async def _end(collection: _Collection) -> None:
    await end(collection.readers.values())
    if collection.sealing is not None:
        await asyncio.gather(collection.sealing, return_exceptions=True)
    collection.writer.close()
