"""The connection that writes to PostgreSQL: few round trips, and no commit whose end is unknown.

Statements wait here until a result is needed, and travel together: all that a group of mutations
inserts goes with its COMMIT. If one of them turns out to be refused then, what it did is undone and
what came behind it is sent again.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterable, Sequence
from typing import Final

from subgrpc.errors import SubgrpcError
from subgrpc.metastore.database import DatabaseFailed, Parameters, Refuse, Row, Taken
from subgrpc.metastore.postgres_commands import (
    RELEASE,
    UNDO,
    Batch,
    Command,
    Part,
    Statement,
    only_inserts,
    repeated,
)
from subgrpc.metastore.postgres_connect import ANSWER_SECONDS, Server, mapped, unavailable
from subgrpc.metastore.postgres_session import (
    Answer,
    ConnectionLost,
    ServerError,
    Session,
    encoded,
)

CHANNEL: Final = "subgrpc_changes"
"""Where servers tell each other of commits; the payload is the server's own mark."""
DECIDE_SECONDS: Final = 5.0
"""How long callers may wait to hear whether a commit came through when its connection was lost."""
_UNIQUE_VIOLATION: Final = "23505"
_NO_SUCH_TRANSACTION: Final = "22023"
_PAUSE: Final = 0.05
_GREATEST_BATCH: Final = 2000
_BEGINNING: Final = 2
"""Statements that every transaction begins with."""

_END_BACKEND: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE pid = $1::int AND backend_xid::text = ($2::text::xid8::xid)::text"
)
_STATUS: Final = "SELECT pg_xact_status($1::text::xid8)"


class PostgresWriter:
    """The writing connection: see `subgrpc.metastore.database.WriteDatabase`."""

    # The work is done elsewhere: meanwhile the event loop can prepare the next group.
    enough = 32

    def __init__(self, server: Server, mark: str) -> None:
        """Connects at the first `begin`, and again whenever it has to.

        Args:
            server: the database.
            mark: of this server, for its notifications.
        """
        self._server = server
        self._mark = mark
        self._session: Session | None = None
        self._pending: list[Command | Batch] = []
        self._waiting = 0
        self._fresh = False
        self._transaction = ""
        self._part: Part | None = None

    def begin(self) -> None:
        """Begins a transaction; nothing is sent yet."""
        self._pending = [Command("BEGIN"), Command("SELECT pg_current_xact_id()::text")]
        # Until the first answer nothing depends on what this connection did: it can be repeated.
        self._fresh = True

    def commit(self, revision: int = 0) -> None:
        """Commits; the other servers are told of the revision."""
        if self._fresh:
            if len(self._pending) == _BEGINNING:
                self._pending = []
                return
            self._exchange()
        if revision:
            self._add("SELECT pg_notify($1, $2)", (CHANNEL, self._mark))
        self._add("COMMIT")
        session, self._fresh = self._session, False
        try:
            tag = self._exchange()[-1][0]
        except DatabaseFailed as error:
            if isinstance(error.__cause__, ConnectionLost) and session is not None:
                self._decide(session.pid, self._transaction, error)
                return
            raise
        if tag != (b"COMMIT",):
            raise DatabaseFailed(unavailable("the transaction was rolled back"))

    def rollback(self) -> None:
        """Rolls back; a connection that cannot do so is given up."""
        self._pending, self._waiting, self._fresh, self._part = [], 0, False, None
        if self._session is not None:
            try:
                self._add("ROLLBACK")
                self._exchange()
            except (DatabaseFailed, ServerError):
                self._drop()

    def savepoint(self) -> None:
        """Begins a part; one that only reads costs nothing."""
        self._part = Part()

    def release(self, refuse: Refuse) -> None:
        """Keeps the part, as far as is known by now."""
        part, self._part = self._part, None
        if part is None or not (part.begun or part.statements):
            return
        part.refuse = refuse
        if part.begun:
            self._pending.append(Command(RELEASE, part=part))
        elif only_inserts(part.statements):
            self._batch().parts.append(part)
        else:
            self._pending += (*part.commands(), Command(RELEASE, part=part))
        self._waiting += len(part.statements)
        if self._waiting > _GREATEST_BATCH:
            self._exchange()

    def undo(self) -> None:
        """Undoes the part; it costs nothing if nothing of it was sent."""
        part, self._part = self._part, None
        if part is not None and part.begun:
            self._pending = [each for each in self._pending if not _is_of(each, part)]
            self._pending += UNDO

    def all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Runs a query."""
        if self._part is not None and self._part.statements:
            self._begin(self._part)
        self._add(sql, parameters)
        return self._exchange()[-1]

    def each(self, sql: str, parameters: Sequence[Parameters]) -> list[list[Row]]:
        """Runs a query for each set of parameters, in one round trip."""
        for each in parameters:
            self._add(sql, each)
        return self._exchange()[-len(parameters) :]

    def returning(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Runs a statement that writes and has rows."""
        if self._part is not None and not self._part.begun:
            self._begin(self._part)
        return self.all(sql, parameters)

    def run(self, sql: str, parameters: Parameters = (), taken: Taken | None = None) -> None:
        """Runs a statement with those that follow."""
        part = self._part
        if part is None or part.begun:
            self._pending.append(Command(sql, encoded(parameters), taken, part))
        else:
            part.statements.append(Statement(sql, parameters, taken))

    def run_many(self, sql: str, parameters: Sequence[Parameters]) -> None:
        """Runs a statement repeatedly."""
        part = self._part
        if part is None or part.begun:
            self._pending += repeated(sql, parameters, part)
        else:
            part.statements += (Statement(sql, each) for each in parameters)

    def close(self) -> None:
        """Closes the connection."""
        self._drop()

    def _add(self, sql: str, parameters: Parameters = ()) -> None:
        self._pending.append(Command(sql, encoded(parameters), None, self._part))

    def _begin(self, part: Part) -> None:
        """Has the part's statements sent, and those that follow, with the next result."""
        self._pending += part.commands()
        part.begun, part.statements = True, []

    def _batch(self) -> Batch:
        """The batch that ends what is pending."""
        last = self._pending[-1] if self._pending else None
        if not isinstance(last, Batch):
            last = Batch()
            self._pending.append(last)
        return last

    def _exchange(self) -> list[list[Row]]:
        """Sends what is pending and waits for the results; who is refused meanwhile is told.

        Raises:
            DatabaseFailed: it cannot be used now; because of a ConnectionLost.
            Exception: what a statement of the part that is not over has for a key that is taken.
        """
        while True:
            commands, self._pending, self._waiting = _flat(self._pending), [], 0
            try:
                answer = self._repeatable(commands)
            except ConnectionLost as error:
                self._drop()
                raise DatabaseFailed(self._server.failure(error)) from error
            if self._fresh and len(answer.results) >= _BEGINNING:
                self._transaction = answer.results[_BEGINNING - 1][0][0]
                self._fresh = False
            if answer.error is None:
                return answer.results
            self._refuse(commands, len(answer.results), answer.error)

    def _refuse(self, commands: list[Command], failed: int, said: ServerError) -> None:
        """Undoes the part of a failed statement, and has what is behind it sent again.

        Raises:
            Exception: what is behind it depends on it, or the database has failed.
        """
        part, error = commands[failed].part, self._failure(said, commands[failed].taken)
        if part is None or isinstance(error, DatabaseFailed):
            raise error
        instead: Iterable[Command] = ()
        if isinstance(part, Batch):
            instead = part.single_commands()
        elif part.refuse is None:
            raise error
        else:
            part.refuse(error)
        behind = (each for each in commands[failed + 1 :] if each.part is not part)
        self._pending = [*UNDO, *instead, *behind]

    def _repeatable(self, commands: list[Command]) -> Answer:
        """One exchange; on a fresh connection if the old one turns out to be gone."""
        session = self._session
        if session is not None:
            try:
                return _exchange(session, commands)
            except ConnectionLost:
                if not self._fresh:
                    raise
                self._drop()
        elif not self._fresh:
            raise ConnectionLost("it was lost before")
        self._session = self._connect()
        return _exchange(self._session, commands)

    def _connect(self) -> Session:
        try:
            return self._server.connect()
        except SubgrpcError as error:
            raise DatabaseFailed(error) from error

    def _drop(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _failure(self, error: ServerError, taken: Taken | None) -> Exception:
        """What a failed statement means."""
        if error.sqlstate == _UNIQUE_VIOLATION and taken is not None:
            return taken()
        known = mapped(error)
        return DatabaseFailed(known) if isinstance(known, SubgrpcError) else known

    def _decide(self, pid: int, transaction: str, lost: DatabaseFailed) -> None:
        """Finds out what became of a commit that was not answered; returns if it is kept.

        Raises:
            DatabaseFailed: it was undone, or nobody can say.
        """
        deadline = time.monotonic() + DECIDE_SECONDS
        while True:
            status = self._status(pid, transaction)
            if status == "committed":
                return
            if status == "aborted":
                raise lost
            if time.monotonic() > deadline:
                text = "whether the last writes were kept is not known: repeat them by request id"
                raise DatabaseFailed(unavailable(text)) from lost
            time.sleep(_PAUSE)

    def _status(self, pid: int, transaction: str) -> str | None:
        """The state of a transaction; its backend, which may wait for us, is ended first."""
        try:
            if self._session is None:
                self._session = self._server.connect()
            end = Command(_END_BACKEND, encoded((pid, transaction)))
            answer = _exchange(self._session, [end, Command(_STATUS, encoded((transaction,)))])
        except (ConnectionLost, SubgrpcError):
            self._drop()
            return None
        if answer.error is not None:
            # A server that took over and never saw the transaction.
            return "aborted" if answer.error.sqlstate == _NO_SUCH_TRANSACTION else None
        found: str | None = answer.results[-1][0][0]
        return found


def _flat(pending: Iterable[Command | Batch]) -> list[Command]:
    """The commands of which the pending ones consist."""
    commands: list[Command] = []
    for each in pending:
        if isinstance(each, Batch):
            commands += each.commands()
        else:
            commands.append(each)
    return commands


def _is_of(pending: Command | Batch, part: Part) -> bool:
    return isinstance(pending, Command) and pending.part is part


def _exchange(session: Session, commands: Sequence[Command]) -> Answer:
    """Sends one batch and waits for its answer."""
    for each in commands:
        session.add(each.sql, each.parameters)
    session.end()
    deadline = time.monotonic() + ANSWER_SECONDS
    poll = select.poll()
    while True:
        unsent = not session.flush()
        poll.register(session.socket, select.POLLIN | (select.POLLOUT if unsent else 0))
        left = deadline - time.monotonic()
        if left <= 0:
            session.close()
            raise ConnectionLost(f"no answer for {ANSWER_SECONDS:.0f} s")
        if poll.poll(left * 1000):
            for answer in session.receive():
                return answer
