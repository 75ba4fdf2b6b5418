"""What goes into the metastore and comes out of it beside protobuf messages.

Times are integer microseconds since the epoch, UTC.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this control plane is: made when its metastore is, and kept in it.

    Attributes:
        control_plane_id: a uid that marks everything that it puts into backends.
        history_id: a uid of this line of history: a restore from a backup changes it.
        token_key: 32 secret bytes that authenticate page and resume tokens.
    """

    control_plane_id: str
    history_id: str
    token_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Fence:
    """The lease under which a write is made: it fails once another holder has the lease.

    Attributes:
        cluster: the cluster, with or without `clusters/`.
        epoch: what `Transaction.acquire_lease` returned.
    """

    cluster: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease of a cluster.

    Attributes:
        cluster: `clusters/NAME`.
        holder: the server that holds it; empty: it was released.
        epoch: grows by one with every holder.
        renewals: grows with every renewal: a challenger watches it stand still.
        home: where the cluster's runs live (`Driver.home`): only servers with the same home may
            take it over; empty: every server may.
    """

    cluster: str
    holder: str
    epoch: int
    renewals: int
    home: str = ""


class ServerRecord(NamedTuple):
    """A server of this control plane, as it was last started.

    Attributes:
        id: of its data folder, which no other server has.
        address: where other servers reach it; empty: nowhere.
        host: its machine's name, for people.
        version: of subgrpc.
        start_time: µs.
    """

    id: str
    address: str
    host: str
    version: str
    start_time: int


@dataclass(slots=True)
class AttemptRow:
    """One attempt of an experiment, as the engine keeps it.

    Attributes:
        experiment_uid: the experiment.
        number: from 1.
        cluster: `clusters/NAME`; given with or without `clusters/`.
        handle: what the driver's `prepare` returned.
        create_time: when it was stored, µs.
        start_time: when its first task came to run, µs.
        end_time: when its outcome was decided and nothing of it ran any more, µs.
        stopping: why we asked for its stop; empty: we did not.
        reason: why it ended so, a CamelCase word.
        message: the same for a person.
        logs_complete: all its output is in its journal.
        settled: it has ended, its logs are complete, its backend is cleaned up.
        journal_server: the server on whose disk its journal stands.
        journal: how often that has changed: positions in an earlier journal mean nothing.
    """

    experiment_uid: str
    number: int
    cluster: str
    handle: bytes
    create_time: int
    start_time: int | None = None
    end_time: int | None = None
    stopping: str = ""
    reason: str = ""
    message: str = ""
    logs_complete: bool = False
    settled: bool = False
    journal_server: str = ""
    journal: int = 0


class Change(NamedTuple):
    """One change of one resource.

    Attributes:
        revision: of the write that made it; a write may make several changes.
        ordinal: its place within that write, from 0.
        uid: the resource.
        before: the serialised message before it; None: there was none.
        after: the serialised message after it; None: it was removed.
        time: when, µs.
        team: the resource's team, so that watchers of others need not parse it.
        kind: what it is, as `subgrpc.metastore.kinds` names it.
    """

    revision: int
    ordinal: int
    uid: str
    before: bytes | None
    after: bytes | None
    time: int
    team: str
    kind: str


class RequestKey(NamedTuple):
    """Under which a request is remembered."""

    principal: str
    method: str
    request_id: str


class RememberedRequest(NamedTuple):
    """A mutation that was carried out under a request id.

    Attributes:
        body_hash: SHA-256 of the request without its id.
        uid: the resource that it concerned.
    """

    body_hash: bytes
    uid: str


class FileBatch(NamedTuple):
    """Some files of an artifact, as they are stored.

    Attributes:
        number: which batch, from 0.
        first_path: the first one's path.
        file_count: how many.
        body: they, in the field `files` of a serialised ListArtifactFilesResponse.
    """

    number: int
    first_path: str
    file_count: int
    body: bytes


Key = list[str | int]
"""A place in an ordered list: the values of the last row's order columns, as JSON scalars."""


class ListPage(NamedTuple):
    """One page of a list.

    Attributes:
        items: serialised messages, at most the limit and about 3 MiB.
        next: `after` of the next page; None: this is the last one. A page can be short, or even
            empty, and still have a next.
    """

    items: list[bytes]
    next: Key | None


class Item(NamedTuple):
    """One resource of a snapshot.

    Attributes:
        kind: what it is.
        uid: which.
        body: the serialised message.
    """

    kind: str
    uid: str
    body: bytes


class Snapshot(NamedTuple):
    """The resources of a team as they were at one revision.

    Attributes:
        revision: changes after it are not in `items`, those up to it are.
        items: the resources.
    """

    revision: int
    items: SnapshotItems


class SnapshotItems:
    """The resources at one revision, by kind and ascending uid: to be iterated once, at any pace.

    They are read window by window, without a transaction that would stay open, and the event loop
    turns between windows. Iterating raises OutOfRange, reason RESUME_TOKEN_EXPIRED, once the
    changes since the snapshot's revision are no longer kept.
    """

    def __init__(self, windows: AsyncIterator[list[Item]]) -> None:
        self._windows = windows

    async def __aiter__(self) -> AsyncIterator[Item]:
        async for window in self._windows:
            for item in window:
                yield item
            await asyncio.sleep(0)
