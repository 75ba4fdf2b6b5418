"""The engine's part of a transaction: attempts, tasks, leases and clusters. See `transaction`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import astuple, replace

from subgrpc import names
from subgrpc.errors import Aborted, AlreadyExists, NotFound
from subgrpc.metastore.database import Parameters, Row, Taken, WriteDatabase
from subgrpc.metastore.records import AttemptRow, Fence, Lease, ServerRecord
from subgrpc.metastore.statements import Statements
from subgrpc.v1.cluster_service_pb2 import Cluster
from subgrpc.v1.experiment_service_pb2 import Task
from subgrpc.v1.types_pb2 import TaskStatus


class EngineTransaction(ABC):
    """Base of `Transaction`.

    Attributes:
        now: the time of all that it writes, in µs.
        wrote: whether it has written anything.
        statements: for this package.
    """

    __slots__ = ("_database", "now", "statements", "wrote")

    def __init__(self, database: WriteDatabase, statements: Statements, now: int) -> None:
        self._database = database
        self.statements = statements
        self.now = now
        self.wrote = False

    @abstractmethod
    def _name_of(self, uid: str) -> str:
        """The name of an experiment. Raises NotFound."""

    def query(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """For this package: runs a query."""
        return self._database.all(sql, parameters)

    def returning(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """For this package: runs a statement that writes and returns rows."""
        self.wrote = True
        return self._database.returning(sql, parameters)

    def run(self, sql: str, parameters: Parameters, taken: Taken | None = None) -> None:
        """For this package: runs a statement; `taken` makes the error of a key that is taken."""
        self.wrote = True
        self._database.run(sql, parameters, taken)

    def run_many(self, sql: str, parameters: Sequence[Parameters]) -> None:
        """For this package: runs a statement for each set of parameters, if there is any."""
        if parameters:
            self.wrote = True
            self._database.run_many(sql, parameters)

    def settle(self, key: str, value: str) -> None:
        """Settles something once for all servers; what was settled before stays."""
        self.run(self.statements.settle, (key, value))

    def attempt(self, uid: str, number: int) -> AttemptRow | None:
        """Returns an attempt; None: there is none."""
        rows = self.query(self.statements.attempt, (uid, number))
        return attempt_row(rows[0]) if rows else None

    def insert_attempt(self, row: AttemptRow) -> None:
        """Stores a new attempt.

        Raises:
            AlreadyExists: ATTEMPT_EXISTS.
        """
        row.cluster = names.cluster_name(row.cluster)
        text = f"experiment {row.experiment_uid} has an attempt {row.number} already"
        self.run(
            self.statements.insert_attempt,
            _stored(row),
            lambda: AlreadyExists(text, reason="ATTEMPT_EXISTS"),
        )
        if row.logs_complete:
            self._wait_for_store(row)

    def save_attempt(self, row: AttemptRow) -> None:
        """Stores what has become of an attempt; nothing is written if it is the same.

        Raises:
            NotFound: ATTEMPT_NOT_FOUND.
        """
        row.cluster = names.cluster_name(row.cluster)
        wanted = _stored(row)
        uid, number, *fields = wanted
        rows = self.query(self.statements.attempt, (uid, number))
        if not rows:
            text = f"experiment {uid} has no attempt {number}"
            raise NotFound(text, reason="ATTEMPT_NOT_FOUND")
        if tuple(rows[0]) != wanted:
            self.run(self.statements.update_attempt, (*fields, uid, number))
            if row.logs_complete and not attempt_row(rows[0]).logs_complete:
                self._wait_for_store(row)

    def _wait_for_store(self, row: AttemptRow) -> None:
        """Its output is complete: it is to be put into the artifact store: see `logs`."""
        end = row.create_time if row.end_time is None else row.end_time
        log = (row.experiment_uid, row.number, 0, row.journal_server, row.journal, 1, end, 0)
        self.run(self.statements.logs.insert, (*log, b"", b""))

    def task_statuses(self, uid: str, attempt: int) -> list[TaskStatus]:
        """Returns the tasks of an attempt as they were stored, by role and index."""
        rows = self.query(self.statements.tasks, (uid, attempt))
        return [Task.FromString(body).status for _, _, body in rows]

    def save_tasks(self, uid: str, attempt: int, statuses: Sequence[TaskStatus]) -> None:
        """Stores tasks, by role and index; those that are stored and not given stay as they are.

        Raises:
            NotFound: EXPERIMENT_NOT_FOUND.
        """
        name = self._name_of(uid)
        rows = self.query(self.statements.tasks, (uid, attempt))
        known = {(role, index): body for role, index, body in rows}
        new: list[Row] = []
        changed: list[Row] = []
        for status in {(each.role, each.index): each for each in statuses}.values():
            body = _task_body(name, attempt, status)
            before = known.get((status.role, status.index))
            key, values = (uid, attempt, status.role, status.index), (status.state, status.reason)
            if before is None:
                new.append((*key, *values, body))
            elif before != body:
                changed.append((*values, body, *key))
        self.run_many(self.statements.insert_task, new)
        self.run_many(self.statements.update_task, changed)

    def acquire_lease(self, cluster: str, holder: str, home: str = "") -> int:
        """Takes a cluster's lease from whoever has it; returns the new epoch.

        For a metastore that no other server can have open.
        """
        name = names.cluster_name(cluster)
        return self.take_over_lease(self._lease(name), name, holder, home)

    def take_over_lease(self, seen: Lease | None, cluster: str, holder: str, home: str) -> int:
        """Takes a cluster's lease if it still is as it was seen; returns the new epoch.

        Raises:
            Aborted: LEASE_LOST, its holder has renewed it, or another server was faster.
        """
        name = names.cluster_name(cluster)
        if self._lease(name) != seen:
            raise Aborted(f"the lease of {name} was renewed or taken", reason="LEASE_LOST")
        if seen is None:
            text = f"the lease of {name} was taken by another server"
            self.run(
                self.statements.insert_lease,
                (name, holder, 1, 0, home),
                lambda: Aborted(text, reason="LEASE_LOST"),
            )
            return 1
        self._write_lease(Lease(name, holder, seen.epoch + 1, seen.renewals + 1, home))
        return seen.epoch + 1

    def renew_lease(self, cluster: str, epoch: int) -> None:
        """Shows that the holder of a lease is alive.

        Raises:
            Aborted: LEASE_LOST.
        """
        held = self._held(cluster, epoch, self._lease(names.cluster_name(cluster)))
        self._write_lease(replace(held, renewals=held.renewals + 1))

    def release_lease(self, cluster: str, epoch: int) -> None:
        """Gives a lease up; writes under its epoch fail from now on. Nothing if it was lost."""
        held = self._lease(names.cluster_name(cluster))
        if held is not None and held.epoch == epoch:
            self._write_lease(replace(held, holder="", renewals=held.renewals + 1))

    def check_fence(self, fence: Fence) -> Lease:
        """Returns the lease of a fence; nobody takes it over before this transaction has ended.

        Raises:
            Aborted: LEASE_LOST, another holder has it, or it was released.
        """
        rows = self.query(self.statements.lease_shared, (names.cluster_name(fence.cluster),))
        return self._held(fence.cluster, fence.epoch, Lease(*rows[0]) if rows else None)

    @staticmethod
    def _held(cluster: str, epoch: int, held: Lease | None) -> Lease:
        if held is None or held.epoch != epoch or not held.holder:
            text = f"the lease of {cluster} with epoch {epoch} was lost"
            raise Aborted(text, reason="LEASE_LOST")
        return held

    def save_server(self, server: ServerRecord) -> None:
        """Stores how a server can be reached now."""
        self.run(self.statements.put_server, server)

    def save_cluster(self, cluster: Cluster) -> None:
        """Stores a cluster as it is published; nothing is written if it is the same."""
        body = cluster.SerializeToString(deterministic=True)
        rows = self.query(self.statements.cluster, (cluster.name,))
        if not rows or rows[0][0] != body:
            self.run(self.statements.put_cluster, (cluster.name, body))

    def remove_cluster(self, name: str) -> None:
        """Removes a cluster that is no longer configured."""
        self.run(self.statements.delete_cluster, (names.cluster_name(name),))

    def _lease(self, cluster: str) -> Lease | None:
        """A lease, which this transaction may change."""
        rows = self.query(self.statements.lease_locked, (cluster,))
        return Lease(*rows[0]) if rows else None

    def _write_lease(self, lease: Lease) -> None:
        row = (lease.holder, lease.epoch, lease.renewals, lease.home, lease.cluster)
        self.run(self.statements.update_lease, row)


def attempt_row(row: Row) -> AttemptRow:
    """An AttemptRow of a row of the table: flags are 0 or 1 there."""
    attempt = AttemptRow(*row)
    attempt.logs_complete = bool(attempt.logs_complete)
    attempt.settled = bool(attempt.settled)
    return attempt


def _stored(row: AttemptRow) -> Row:
    return tuple(int(each) if isinstance(each, bool) else each for each in astuple(row))


def _task_body(name: str, attempt: int, status: TaskStatus) -> bytes:
    task = Task(name=names.task_name(name, attempt, status.role, status.index), attempt=attempt)
    task.status.CopyFrom(status)
    return task.SerializeToString(deterministic=True)
