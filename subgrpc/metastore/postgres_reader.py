"""The connections that read from PostgreSQL, on the event loop.

Single reads of all callers share a few connections, where they travel together and are answered in
order; what reads several times from one state, or may stop early, has a connection to itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

from subgrpc.errors import SubgrpcError
from subgrpc.metastore.database import Parameters, Row
from subgrpc.metastore.postgres_connect import ANSWER_SECONDS, Server, mapped, unavailable
from subgrpc.metastore.postgres_session import (
    NOTHING,
    Answer,
    ConnectionLost,
    Encoded,
    Session,
    encoded,
)

SHARED: Final = 2
"""Connections for single reads: one is enough for the rate, a second for a long answer's sake."""
OWN: Final = 8
"""Connections for reads of one state; who finds none waits his turn."""
PORTION_BYTES: Final = 1 << 20
"""About so much of a long answer is fetched at a time."""
_FIRST_PORTION: Final = 32
_GREATEST_PORTION: Final = 1000

Statement = tuple[str, Encoded, bool]
"""SQL, parameters, and whether not to keep it prepared."""


class Lane:
    """One connection that the event loop looks after; its batches are answered in order."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[Answer]] = deque()
        self._flushing = False
        self._writing = False
        self._lost: ConnectionLost | None = None
        self._heard = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._socket = session.socket
        self._loop.add_reader(self._socket, self._readable)

    @property
    def alive(self) -> bool:
        """Whether it can be used, as far as is known."""
        return self._lost is None

    @property
    def load(self) -> int:
        """Batches that are not answered yet."""
        return len(self._waiting)

    def ask(self, statements: Sequence[Statement]) -> asyncio.Future[Answer]:
        """Sends a batch with this turn of the event loop; its future may raise ConnectionLost."""
        future: asyncio.Future[Answer] = self._loop.create_future()
        if self._lost is not None:
            future.set_exception(self._lost)
            future.exception()  # Retrieved, as below.
            return future
        if not self._waiting:
            self._heard = self._loop.time()
            if self._watch is None:
                self._watch = self._loop.call_later(ANSWER_SECONDS, self._look)
        self._waiting.append(future)
        try:
            for sql, parameters, once in statements:
                self._session.add(sql, parameters, once=once)
            self._session.end()
        except ConnectionLost as error:
            self._lose(error)
            return future
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
        return future

    def close(self) -> None:
        """Closes the connection; who waits for an answer hears of it."""
        self._lose(ConnectionLost("it was closed"))

    def _flush(self) -> None:
        self._flushing = False
        if self._lost is not None:
            return
        try:
            done = self._session.flush()
        except ConnectionLost as error:
            self._lose(error)
            return
        if done and self._writing:
            self._loop.remove_writer(self._socket)
        elif not done and not self._writing:
            self._loop.add_writer(self._socket, self._flush)
        self._writing = not done

    def _readable(self) -> None:
        try:
            for answer in self._session.receive():
                self._heard = self._loop.time()
                future = self._waiting.popleft()
                if not future.done():
                    future.set_result(answer)
        except ConnectionLost as error:
            self._lose(error)

    def _look(self) -> None:
        """Gives a connection up on which nothing has come for too long."""
        self._watch = None
        if self._lost is None:
            self._readable()  # It may be this loop that was late.
        if self._lost is None and self._waiting:
            left = self._heard + ANSWER_SECONDS - self._loop.time()
            if left <= 0:
                self._lose(ConnectionLost(f"no answer for {ANSWER_SECONDS:.0f} s"))
            else:
                self._watch = self._loop.call_later(left, self._look)

    def _lose(self, error: ConnectionLost) -> None:
        if self._lost is not None:
            return
        self._lost = error
        self._loop.remove_reader(self._socket)
        if self._writing:
            self._loop.remove_writer(self._socket)
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._session.close()
        waiting, self._waiting = self._waiting, deque()
        for future in waiting:
            if not future.done():
                future.set_exception(error)
                future.exception()  # Retrieved: it may be one that nobody awaits.


class PostgresReader:
    """What reads: see `subgrpc.metastore.database.ReadDatabase`."""

    def __init__(self, server: Server) -> None:
        """Connects when it is first needed, and again whenever it has to."""
        self._server = server
        self._shared: list[Lane] = []
        self._idle: list[Lane] = []
        self._turns = asyncio.Semaphore(OWN)
        self._connecting: asyncio.Task[Lane] | None = None
        self._closed = False

    async def one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """The first row."""
        rows = await self.all(sql, parameters)
        return rows[0] if rows else None

    async def all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """All rows; once more, on a fresh connection, if the first one turns out to be gone."""
        statements = ((sql, encoded(parameters), False),)
        lane = self._lane()
        if lane is not None:
            try:
                return _rows(await lane.ask(statements))
            except ConnectionLost:
                pass
        lane = self._lane() or await self._connected()
        try:
            return _rows(await lane.ask(statements))
        except ConnectionLost as error:
            raise self._server.failure(error) from error

    async def rows(self, sql: str, parameters: Parameters = ()) -> AsyncGenerator[Row, None]:
        """Row by row."""
        async with (
            self.consistent() as reader,
            contextlib.aclosing(reader.rows(sql, parameters)) as rows,
        ):
            async for row in rows:
                yield row

    @contextlib.asynccontextmanager
    async def consistent(self) -> AsyncIterator[_Consistent]:
        """A reader whose statements all see one state."""
        await self._turn()
        try:
            lane = await self._begun()
            try:
                yield _Consistent(self._server, lane)
            finally:
                # Nobody waits for its end: who uses the connection next stands behind it.
                lane.ask((("COMMIT", NOTHING, False),))
                if self._closed:
                    lane.close()
                elif lane.alive:
                    self._idle.append(lane)
        finally:
            self._turns.release()

    async def _turn(self) -> None:
        if not self._turns.locked():
            await self._turns.acquire()
            return
        try:
            await asyncio.wait_for(self._turns.acquire(), ANSWER_SECONDS)
        except asyncio.TimeoutError as error:
            raise unavailable("too much is read from it at the same time") from error

    async def close(self) -> None:
        """Closes."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        for lane in (*self._shared, *self._idle):
            lane.close()

    def _lane(self) -> Lane | None:
        """The least busy of the shared connections; None: there are too few yet."""
        if any(not lane.alive for lane in self._shared):
            self._shared = [lane for lane in self._shared if lane.alive]
        if not self._shared:
            return None
        best = min(self._shared, key=lambda lane: lane.load)
        if best.load and len(self._shared) < SHARED and self._connecting is None:
            self._connect_shared()
        return best

    async def _connected(self) -> Lane:
        """A fresh shared connection; who needs one at the same time waits for the same."""
        if self._connecting is None:
            self._connect_shared()
        assert self._connecting is not None
        try:
            return await asyncio.shield(self._connecting)
        except SubgrpcError as error:
            raise copy.copy(error) from error

    def _connect_shared(self) -> None:
        async def connect() -> Lane:
            try:
                lane = await self._connect()
                self._shared.append(lane)
                return lane
            finally:
                self._connecting = None

        self._connecting = asyncio.create_task(connect(), name="metastore-connect")
        # What it raises is told to whoever waits for it, if anybody does.
        self._connecting.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _connect(self) -> Lane:
        if self._closed:
            raise unavailable("it is closing")
        return Lane(await self._server.connect_async())

    async def _begun(self) -> Lane:
        """A connection of the caller's own, in a transaction that sees one state."""
        statements = (("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", NOTHING, False),)
        while self._idle and not self._closed:
            lane = self._idle.pop()
            try:
                _rows(await lane.ask(statements))
            except ConnectionLost:
                continue
            return lane
        lane = await self._connect()
        try:
            _rows(await lane.ask(statements))
        except ConnectionLost as error:
            raise self._server.failure(error) from error
        return lane


class _Consistent:
    """Reads from one state: see `PostgresReader.consistent`."""

    def __init__(self, server: Server, lane: Lane) -> None:
        self._server = server
        self._lane = lane

    async def one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """The first row."""
        rows = await self.all(sql, parameters)
        return rows[0] if rows else None

    async def all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """All rows."""
        return await self._ask((sql, encoded(parameters), False))

    async def rows(self, sql: str, parameters: Parameters = ()) -> AsyncGenerator[Row, None]:
        """Row by row, from a cursor that ends with the transaction or with the iterator."""
        declare = (f"DECLARE walk NO SCROLL CURSOR FOR {sql}", encoded(parameters), True)
        count = _FIRST_PORTION
        try:
            rows = await self._ask(declare, _fetch(count))
            while rows:
                for row in rows:
                    yield row
                if len(rows) < count:
                    return
                size = sum(len(each) for row in rows for each in row if isinstance(each, bytes))
                count = min(_GREATEST_PORTION, max(1, PORTION_BYTES * len(rows) // max(size, 1)))
                rows = await self._ask(_fetch(count))
        finally:
            self._lane.ask((("CLOSE walk", NOTHING, False),))

    @contextlib.asynccontextmanager
    async def consistent(self) -> AsyncIterator[_Consistent]:
        """Itself."""
        yield self

    async def close(self) -> None:
        """It ends with its transaction."""

    async def _ask(self, *statements: Statement) -> list[Row]:
        try:
            return _rows(await self._lane.ask(statements))
        except ConnectionLost as error:
            raise self._server.failure(error) from error


def _fetch(count: int) -> Statement:
    return (f"FETCH {count} FROM walk", NOTHING, True)


def _rows(answer: Answer) -> list[Row]:
    """The rows of a batch's last statement."""
    if answer.error is None:
        return answer.results[-1]
    known = mapped(answer.error)
    if isinstance(known, SubgrpcError):
        raise known from answer.error
    raise known
