"""The metastore: desired and observed state, its history of changes, and who leads what.

Reads run on the event loop, on a connection of their own, and see every write that was awaited.
Writes are functions that run on the writer thread (`subgrpc.metastore.transaction`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Final, TypeVar

from subgrpc import names
from subgrpc.errors import DataLoss, FailedPrecondition
from subgrpc.filters import Filter, OrderBy
from subgrpc.metastore import blobs
from subgrpc.metastore.artifact_reads import ArtifactReads
from subgrpc.metastore.blobs import BlobPlace
from subgrpc.metastore.database import Opened, ReadDatabase
from subgrpc.metastore.engine_transaction import attempt_row
from subgrpc.metastore.feed import ChangeFeed
from subgrpc.metastore.following import Following
from subgrpc.metastore.kinds import EXPERIMENTS, Kind
from subgrpc.metastore.listing import Listing
from subgrpc.metastore.lock import DirectoryLock
from subgrpc.metastore.logs import LogReads
from subgrpc.metastore.model_reads import ModelReads
from subgrpc.metastore.pruning import prune_changes, prune_requests
from subgrpc.metastore.queries import Queries
from subgrpc.metastore.records import (
    AttemptRow,
    Change,
    Fence,
    Identity,
    Item,
    Key,
    Lease,
    ListPage,
    ServerRecord,
    Snapshot,
    SnapshotItems,
)
from subgrpc.metastore.serverid import server_id
from subgrpc.metastore.snapshot import SnapshotReader
from subgrpc.metastore.sqlite import DIALECT, open_sqlite
from subgrpc.metastore.statements import Statements
from subgrpc.metastore.transaction import REMEMBERED
from subgrpc.metastore.writer import Asking, Mutation, Writer
from subgrpc.v1.experiment_service_pb2 import Task
from subgrpc.v1.types_pb2 import TaskStatus

T = TypeVar("T")
PATIENCE: Final = 30.0
"""Seconds that opening waits for a PostgreSQL that cannot be reached."""


def _wall_clock() -> int:
    return time.time_ns() // 1_000


class Metastore:
    """An open metastore. Every method may raise Unavailable, reason METASTORE_UNAVAILABLE.

    Attributes:
        shared: whether other servers may have it open, too.
        server_id: who this data folder's server is, among them.
        identity: who this control plane is.
        feed: the newest changes, and how to wait for the next.
        artifacts, models, logs: what is read of artifacts, of the model registry, of logs.
        clock: the time in µs since the epoch, for all that is stored and compared with it.
    """

    writer_class: ClassVar[type[Writer]] = Writer
    """What commits: a simulation has one without a thread."""

    def __init__(
        self,
        lock: DirectoryLock,
        opened: Opened,
        statements: Statements,
        identity: Identity,
        revision: int,
        *,
        server_id: str,
        feed_size: int,
        change_retention: timedelta,
        change_limit: int,
        clock: Callable[[], int],
    ) -> None:
        """For `open`, on the event loop."""
        self.clock = clock
        self._lock = lock
        self._reader = opened.reader
        self._statements = statements
        self.shared = opened.listener is not None
        self.server_id = server_id
        self.identity = identity
        self.feed = ChangeFeed(feed_size, revision)
        self._queries = Queries(statements.dialect)
        self._listing = Listing(opened.reader, statements, self._queries)
        self.artifacts = ArtifactReads(opened.reader, statements, self._listing)
        self.models = ModelReads(opened.reader, statements, self._listing)
        self.logs = LogReads(opened.reader, statements)
        self._retention = change_retention // timedelta(microseconds=1)
        self._change_limit = change_limit
        self._following = (
            Following(self.feed, self._listing, opened.listener) if opened.listener else None
        )
        publish = self._following.publish if self._following else self._publish
        self._writer = self.writer_class(opened.writer, statements, publish, clock)

    @classmethod
    async def open(
        cls,
        data_dir: Path,
        *,
        database: str = "",
        patience: float = PATIENCE,
        feed_size: int = 10_000,
        change_retention: timedelta = timedelta(hours=24),
        change_limit: int = 1_000_000,
        clock: Callable[[], int] = _wall_clock,
    ) -> Metastore:
        """Opens the metastore of a data folder, which is locked until `close`.

        It is made if there is none, checked, and migrated if its schema is older.

        Args:
            data_dir: made, with mode 0700, if there is none.
            database: the URL of a PostgreSQL database, which other servers may have open too, each
                with a data folder of its own; empty: SQLite in the data folder.
            patience: seconds to wait for a PostgreSQL that cannot be reached.
            feed_size: how many changes are kept in memory.
            change_retention: for how long changes are kept in the database.
            change_limit: how many revisions back they are kept, whichever is less.
            clock: the time in µs since the epoch.

        Raises:
            FailedPrecondition: DATA_DIR_LOCKED (metadata `pid`), DATA_DIR_UNUSABLE,
                SCHEMA_TOO_NEW, DATABASE_UNFIT, DATABASE_NOT_INSTALLED.
            InvalidArgument: DATABASE_URL_INVALID.
            DataLoss: METASTORE_DAMAGED; the database is left as it is.
            Unavailable: METASTORE_UNAVAILABLE.
        """
        lock = DirectoryLock(data_dir)
        async with contextlib.AsyncExitStack() as undo:
            undo.callback(lock.release)
            opened, statements = await asyncio.to_thread(_open, data_dir, database, patience)
            undo.callback(opened.writer.close)
            undo.push_async_callback(opened.reader.close)
            store = cls(
                *(lock, opened, statements, *(await _identity(opened.reader, statements))),
                server_id=await asyncio.to_thread(server_id, data_dir),
                feed_size=feed_size,
                change_retention=change_retention,
                change_limit=change_limit,
                clock=clock,
            )
            undo.pop_all()
        return store

    async def close(self) -> None:
        """Carries out what was submitted, and closes; later writes raise Unavailable."""
        if self._following is not None:
            await self._following.close()
        await self._reader.close()
        await self._writer.close()
        self._lock.release()

    def _publish(self, before: int, revision: int, changes: Sequence[Change]) -> None:
        """Where nobody else writes, nothing can be missing before a commit."""
        self.feed.publish(revision, changes)

    @property
    def revision(self) -> int:
        """The last committed revision."""
        return self.feed.revision

    async def write(
        self, mutation: Mutation[T], *, fence: Fence | None = None, request: Asking = None
    ) -> T:
        """Runs a mutation under a revision of its own, and returns its result once it is durable.

        A mutation that writes nothing uses no revision. If the caller is cancelled, it cannot
        know whether the mutation was carried out; it was not carried out in part. Requests that
        mutations will ask for by `Transaction.remembered` are looked up together.

        Raises:
            Aborted: LEASE_LOST, the fence's lease is another's by now.
            Unavailable: METASTORE_UNAVAILABLE; nothing was kept. With PostgreSQL it can also not
                be known, and the message says so: for a while nobody could be asked.
            Exception: whatever the mutation raises; nothing of it was kept.
        """
        return await self._writer.submit(mutation, fence, versioned=True, request=request)

    async def write_unversioned(self, mutation: Mutation[T], *, fence: Fence | None = None) -> T:
        """As `write`, for what nobody watches (leases, clusters, log flags): takes no revision."""
        return await self._writer.submit(mutation, fence, versioned=False)

    async def write_ordered(self, mutation: Mutation[T], *, request: Asking = None) -> T:
        """As `write_unversioned`, but one after the other with all others, on all servers."""
        return await self._writer.submit(mutation, None, False, ordered=True, request=request)

    async def prune(self) -> None:
        """Removes changes and request ids that are too old, in batches that let others write."""
        now = self.clock()
        too_old, too_far = now - self._retention, self.revision - self._change_limit
        while await self.write_unversioned(lambda tx: prune_changes(tx, too_old, too_far)):
            pass
        while await self.write_unversioned(lambda tx: prune_requests(tx, now - REMEMBERED)):
            pass

    async def get_experiment(self, team: str, experiment_id: str) -> bytes | None:
        """The serialised Experiment of that name; None: there is none."""
        row = await self._reader.one(self._statements.get, (team, experiment_id))
        return None if row is None else row[0]

    async def get_experiment_by_uid(self, uid: str) -> bytes | None:
        """The serialised Experiment with that uid; None: there is none."""
        row = await self._reader.one(self._statements.get_by_uid, (uid,))
        return None if row is None else row[0]

    async def batch_get_experiments(self, team: str, ids: Sequence[str]) -> dict[str, bytes]:
        """Serialised Experiments by id; those that there are not are left out."""
        found = {each: await self.get_experiment(team, each) for each in ids}
        return {each: body for each, body in found.items() if body is not None}

    async def list_experiments(
        self,
        team: str,
        *,
        filter: Filter | None,  # noqa: A002 - the word of the API
        order: OrderBy,
        after: Key | None,
        limit: int,
    ) -> ListPage:
        """A page of a team's experiments, as serialised Experiments.

        Args:
            team: the team.
            filter: which; None: all.
            order: in which order; ties by uid, in the same direction.
            after: `ListPage.next` of the page before, of the same filter and order.
            limit: how many at most. At most 5,000 are looked at where no index serves the filter,
                so a page can be short, or empty, and still have a next.
        """
        return await self._listing.resources(
            EXPERIMENTS, {"team": team}, filter, order, after, limit
        )

    async def list_tasks(
        self,
        uid: str,
        attempt: int | None,
        *,
        filter: Filter | None,  # noqa: A002 - the word of the API
        after: Key | None,
        limit: int,
    ) -> ListPage:
        """A page of tasks of an attempt (None: of all), as serialised Tasks.

        They are ordered by attempt, role and index.
        """
        return await self._listing.tasks(uid, attempt, filter, after, limit)

    async def list_events(self, uid: str, *, after: int, limit: int) -> ListPage:
        """A page of events with a sequence greater than `after`, as serialised ExperimentEvents.

        `next` holds the sequence of the page's last event.
        """
        return await self._listing.events(uid, after, limit)

    async def list_clusters(self) -> list[bytes]:
        """All serialised Clusters, by name."""
        return [body for (body,) in await self._reader.all(self._statements.clusters)]

    async def get_cluster(self, name: str) -> bytes | None:
        """The serialised Cluster of that name (`clusters/NAME`); None: there is none."""
        row = await self._reader.one(self._statements.cluster, (names.cluster_name(name),))
        return None if row is None else row[0]

    async def lease(self, cluster: str) -> Lease | None:
        """A cluster's lease; None: it was never taken."""
        row = await self._reader.one(self._statements.lease, (names.cluster_name(cluster),))
        return None if row is None else Lease(*row)

    async def server(self, server_id: str) -> ServerRecord | None:
        """A server of this control plane; None: there never was one."""
        row = await self._reader.one(self._statements.server, (server_id,))
        return None if row is None else ServerRecord._make(row)

    async def setting(self, key: str) -> str | None:
        """What was settled once for all servers (`Transaction.settle`); None: nothing yet."""
        row = await self._reader.one(self._statements.setting, (key,))
        return None if row is None else row[0]

    async def attempts(self, uid: str) -> list[AttemptRow]:
        """The attempts of an experiment, in order."""
        return [
            attempt_row(row) for row in await self._reader.all(self._statements.attempts, (uid,))
        ]

    async def attempt(self, uid: str, number: int) -> AttemptRow | None:
        """One attempt; None: there is none."""
        row = await self._reader.one(self._statements.attempt, (uid, number))
        return None if row is None else attempt_row(row)

    async def task_statuses(self, uid: str, attempt: int) -> list[TaskStatus]:
        """The tasks of an attempt, by role and index."""
        rows = await self._reader.all(self._statements.tasks, (uid, attempt))
        return [Task.FromString(body).status for _, _, body in rows]

    async def unsettled(self, cluster: str) -> list[str]:
        """Uids of a cluster's experiments with which there is something to do, oldest first.

        Those that have not ended or are DELETING, and those with an attempt that is not settled.
        """
        name = names.cluster_name(cluster)
        return [uid for (uid,) in await self._reader.all(self._statements.unsettled, (name, name))]

    async def blobs(self, digests: Collection[bytes]) -> dict[bytes, BlobPlace]:
        """Where blobs are, by digest; those that are not there are left out."""
        return await blobs.read_places(self._reader, self._statements.blobs, digests)

    async def blobs_of(
        self, artifact_uid: str, digests: Collection[bytes]
    ) -> dict[bytes, BlobPlace]:
        """As `blobs`, of those that an artifact uses."""
        return await blobs.read_places_of(
            self._reader, self._statements.blobs, artifact_uid, digests
        )

    async def changes_after(self, revision: int, limit: int) -> list[Change]:
        """The next changes after a revision, in commit order, whole revisions only.

        At most `limit`, unless a single revision has more, and about 3 MiB; empty: there are none.

        Raises:
            OutOfRange: RESUME_TOKEN_EXPIRED, some of them are no longer kept.
        """
        return await self._listing.changes_after(revision, limit)

    async def oldest_revision(self) -> int:
        """Changes up to this revision are no longer kept; one who stands at it can go on."""
        row = await self._reader.one(self._statements.pruned)
        return 0 if row is None else row[0]

    async def restored(self) -> bool:
        """Whether it comes from a backup, and no operator has confirmed that yet."""
        row = await self._reader.one(self._statements.restored)
        return row is not None and bool(row[0])

    async def snapshot(
        self,
        team: str,
        filter: Filter | None,  # noqa: A002 - the word of the API
        kinds: Sequence[Kind] = (EXPERIMENTS,),
    ) -> Snapshot:
        """What a team has of some kinds at the current revision, by kind and uid: oldest first.

        It is for a watch's beginning: go on with the changes after its revision. Unlike a list it
        stays consistent however long the reading takes, and holds nothing open meanwhile. It has
        all that was written before it was asked for, on whichever server.
        """
        if self._following is not None:
            await self._following.caught_up()
        revision = self.revision
        parts = (self._reader, self._statements, self._queries)

        async def windows() -> AsyncIterator[list[Item]]:
            for kind in kinds:
                reader = SnapshotReader(*parts, kind, team, filter, revision)
                async for window in reader.windows():
                    yield window

        return Snapshot(revision, SnapshotItems(windows()))


def _open(data_dir: Path, database: str, patience: float) -> tuple[Opened, Statements]:
    """Opens the database; nothing of PostgreSQL is imported for SQLite."""
    if not database:
        statements = Statements(DIALECT)
        return open_sqlite(data_dir, statements), statements
    try:
        from subgrpc.metastore import postgres
    except ImportError as error:
        text = f"PostgreSQL needs the extra `postgres`: pip install 'subgrpc[postgres]' ({error})"
        raise FailedPrecondition(text, reason="DATABASE_NOT_INSTALLED") from error
    return postgres.open_postgres(database, data_dir, patience), Statements(postgres.DIALECT)


async def _identity(reader: ReadDatabase, statements: Statements) -> tuple[Identity, int]:
    row = await reader.one(statements.identity)
    if row is None:
        raise DataLoss("the metastore has no identity", reason="METASTORE_DAMAGED")
    return Identity(*row[:3]), row[3]
