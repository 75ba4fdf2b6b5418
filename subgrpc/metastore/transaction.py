"""What a mutation can do: the transaction that it gets on the writer thread.

A mutation is a plain function that may be called once, at any time, off the event loop; it must
touch nothing but its transaction and its own arguments, and must not keep the transaction.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from subgrpc.errors import AlreadyExists, NotFound
from subgrpc.filters import micros
from subgrpc.metastore import artifacts, logs
from subgrpc.metastore.database import Row, WriteDatabase
from subgrpc.metastore.engine_transaction import EngineTransaction
from subgrpc.metastore.kinds import EXPERIMENTS
from subgrpc.metastore.records import Change, RememberedRequest, RequestKey
from subgrpc.metastore.statements import Statements
from subgrpc.metastore.times import set_time
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentEvent

REMEMBERED: Final = 24 * 3600 * 1_000_000
"""How long a request id is remembered, in µs."""
ENDED: Final = frozenset(
    (
        api.EXPERIMENT_STATE_SUCCEEDED,
        api.EXPERIMENT_STATE_FAILED,
        api.EXPERIMENT_STATE_CANCELLED,
    )
)


Asked = dict[RequestKey, list[Row]]
"""Requests that were looked up for a whole group of mutations, and what was found of each."""


class _Stored(NamedTuple):
    """An experiment's row, as far as a transaction needs it."""

    uid: str
    team: str
    cluster: str
    create_time: int
    update_time: int
    revision: int
    body: bytes


class Transaction(EngineTransaction):
    """One mutation's view of the metastore.

    Attributes:
        revision: the revision that it makes; 0 in `Metastore.write_unversioned`. A mutation that
            turns out to write nothing uses none up, and the next one gets the same.
        now: the time of all that it writes, in µs.
        changes: the changes that it made so far, in order.
    """

    __slots__ = ("_asked", "_loaded", "_sequences", "changes", "revision")

    def __init__(
        self,
        database: WriteDatabase,
        statements: Statements,
        revision: int,
        now: int,
        asked: Asked,
    ) -> None:
        """For the writer; `asked`: see there."""
        super().__init__(database, statements, now)
        self.revision = revision
        self._asked = asked
        self.changes: list[Change] = []
        self._loaded: dict[str, _Stored] = {}
        self._sequences: dict[str, int] = {}

    def experiment(self, uid: str) -> Experiment | None:
        """Returns an experiment, as a message of the caller's own; None: there is none."""
        stored = self._load(uid)
        return None if stored is None else Experiment.FromString(stored.body)

    def experiment_by_name(self, team: str, experiment_id: str) -> Experiment | None:
        """Returns the experiment of that name, as `experiment` does."""
        rows = self.query(self.statements.stored_by_name, (team, experiment_id))
        if not rows:
            return None
        stored = self._remember_loaded(rows[0])
        return Experiment.FromString(stored.body)

    def insert_experiment(self, experiment: Experiment) -> None:
        """Stores a new experiment; sets its etag, its update_time and, if unset, create_time.

        The caller must let the error pass through, so that the mutation is undone.

        Raises:
            AlreadyExists: EXPERIMENT_EXISTS, the team has one of that id.
            NotFound: ARTIFACT_NOT_FOUND, one of its inputs is gone.
        """
        name, uid, cluster = experiment.name, experiment.uid, experiment.cluster
        _, team, _, experiment_id = name.split("/")
        if not experiment.HasField("create_time"):
            set_time(experiment.create_time, self.now)
        created = micros(experiment.create_time)
        body = self._stamp(experiment)
        row = (
            *(uid, team, experiment_id, experiment.state, experiment.reason),
            *(cluster, experiment.creator, experiment.display_name, created),
            *(self.now, _end_time(experiment), self.revision, _active(experiment), body),
        )
        self.run(
            self.statements.insert_experiment,
            row,
            lambda: AlreadyExists(
                f"there is an experiment {name} already", reason="EXPERIMENT_EXISTS"
            ),
        )
        self._insert_labels(experiment, team, created)
        for each in experiment.inputs:
            artifacts.refer(self, each.artifact, name)
        self.changed(EXPERIMENTS.name, uid, team, None, body)
        self._sequences[uid] = 0
        self._loaded[uid] = _Stored(uid, team, cluster, created, self.now, self.revision, body)

    def save_experiment(self, experiment: Experiment) -> None:
        """Stores what has become of an experiment; sets its etag and update_time.

        If it equals what is stored, apart from those two, nothing is written and they are set to
        what is stored. Name, uid, creator, create_time and cluster never change.

        Raises:
            NotFound: EXPERIMENT_NOT_FOUND.
        """
        stored = self._existing(experiment.uid)
        experiment.etag = _etag(stored.revision)
        set_time(experiment.update_time, stored.update_time)
        if experiment.SerializeToString(deterministic=True) == stored.body:
            return
        if experiment.cluster != stored.cluster:
            raise ValueError(f"{experiment.name} cannot move to {experiment.cluster}")
        body = self._stamp(experiment)
        row = (
            *(experiment.state, experiment.reason, experiment.display_name, self.now),
            *(_end_time(experiment), self.revision, _active(experiment), body, stored.uid),
        )
        self.run(self.statements.update_experiment, row)
        if experiment.inputs and experiment.state in ENDED:
            artifacts.release(self, experiment.name)
        if Experiment.FromString(stored.body).labels != experiment.labels:
            self.run(self.statements.delete_labels, (stored.uid,))
            self._insert_labels(experiment, stored.team, stored.create_time)
        self.changed(EXPERIMENTS.name, stored.uid, stored.team, stored.body, body)
        self._loaded[stored.uid] = _Stored(
            *(stored.uid, stored.team, stored.cluster, stored.create_time),
            *(self.now, self.revision, body),
        )

    def delete_experiment(self, uid: str) -> None:
        """Removes an experiment with everything of it; nothing happens if there is none."""
        stored = self._load(uid)
        if stored is None:
            return
        self.require_revision()
        logs.forget(self, uid)
        statements = self.statements
        for sql in (
            *(statements.delete_labels, statements.delete_events, statements.delete_tasks),
            *(statements.delete_attempts, statements.delete_experiment),
        ):
            self.run(sql, (uid,))
        gone = Experiment.FromString(stored.body)
        if gone.inputs:
            artifacts.release(self, gone.name)
        self.changed(EXPERIMENTS.name, uid, stored.team, stored.body, None)
        del self._loaded[uid]
        self._sequences.pop(uid, None)

    def add_event(self, uid: str, event: ExperimentEvent) -> None:
        """Appends to an experiment's history; sets the event's sequence and, if unset, its time."""
        last = self._sequences.get(uid)
        if last is None:
            rows = self.query(self.statements.last_event, (uid,))
            last = rows[0][0] if rows else 0
        event.sequence = self._sequences[uid] = last + 1
        if not event.HasField("time"):
            set_time(event.time, self.now)
        self.run(self.statements.insert_event, (uid, event.sequence, event.SerializeToString()))

    def remembered(self, principal: str, method: str, request_id: str) -> RememberedRequest | None:
        """Returns what was done under a request id in the last 24 hours; None: nothing."""
        key = RequestKey(principal, method, request_id)
        # What was asked before the group's mutations holds for the first of them.
        rows = self._asked.pop(key, None)
        if rows is None:
            rows = self.query(self.statements.request, key)
        if not rows:
            return None
        body_hash, uid, time = rows[0]
        if time > self.now - REMEMBERED:
            return RememberedRequest(body_hash, uid)
        self.run(self.statements.delete_request, key)
        return None

    def remember(
        self, principal: str, method: str, request_id: str, body_hash: bytes, uid: str
    ) -> None:
        """Remembers what was done under a request id for which `remembered` returned None."""
        self._asked.pop(RequestKey(principal, method, request_id), None)
        row = (principal, method, request_id, body_hash, uid, self.now)
        self.run(self.statements.insert_request, row)

    def _name_of(self, uid: str) -> str:
        return Experiment.FromString(self._existing(uid).body).name

    def _existing(self, uid: str) -> _Stored:
        stored = self._load(uid)
        if stored is None:
            raise NotFound(f"there is no experiment {uid}", reason="EXPERIMENT_NOT_FOUND")
        return stored

    def _load(self, uid: str) -> _Stored | None:
        found = self._loaded.get(uid)
        if found is None:
            rows = self.query(self.statements.stored, (uid,))
            found = self._remember_loaded(rows[0]) if rows else None
        return found

    def _remember_loaded(self, row: Row) -> _Stored:
        stored = self._loaded[row[0]] = _Stored(*row)
        return stored

    def _stamp(self, experiment: Experiment) -> bytes:
        """Sets etag and update_time to this transaction's, and serialises."""
        self.require_revision()
        experiment.etag = _etag(self.revision)
        set_time(experiment.update_time, self.now)
        return experiment.SerializeToString(deterministic=True)

    def require_revision(self) -> None:
        """For this package: sees to it that what is watched changes under a revision."""
        if not self.revision:
            raise RuntimeError("this changes in Metastore.write only, not write_unversioned")

    def _insert_labels(self, experiment: Experiment, team: str, created: int) -> None:
        labels, uid = experiment.labels, experiment.uid
        rows = [(uid, key, labels[key], team, created) for key in labels]
        self.run_many(self.statements.insert_label, rows)

    def changed(
        self, kind: str, uid: str, team: str, before: bytes | None, after: bytes | None
    ) -> None:
        """For this package: notes a change of a resource for its watchers."""
        ordinal = len(self.changes)
        change = Change(self.revision, ordinal, uid, before, after, self.now, team, kind)
        self.changes.append(change)
        row = (self.revision, ordinal, self.now, kind, team, uid, before, after)
        self.run(self.statements.insert_change, row)


def _etag(revision: int) -> str:
    return f"{revision:x}"


def _end_time(experiment: Experiment) -> int:
    return micros(experiment.end_time) if experiment.HasField("end_time") else 0


def _active(experiment: Experiment) -> int:
    return int(experiment.state not in ENDED)
