"""A control plane's log store without servers: a test plays the engine, the store is a folder."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

from subgrpc.artifacts import StoredObject, StoreSettings
from subgrpc.artifacts.filestore import FileStore
from subgrpc.errors import Unavailable
from subgrpc.journal import JournalStore
from subgrpc.metastore import AttemptRow, Metastore, Transaction, blobs
from subgrpc.names import new_uid
from subgrpc.services.blobs import Spool, Storage
from subgrpc.services.log_store import Archiver, LogCache, Retention
from subgrpc.services.logs import Logs
from subgrpc.tokens import TokenCodec
from subgrpc.v1.experiment_service_pb2 import (
    Experiment,
    ExperimentState,
    StreamLogsRequest,
    StreamLogsResponse,
)

OUT, ERR = 1, 2


class Outage(FileStore):
    """A folder that can be away, and counts what is read; packs are full after 64 KiB."""

    pack_size = 64 << 10
    away = False
    gets = 0

    def _here(self) -> None:
        if self.away:
            raise Unavailable("the store is away", reason="STORE_UNAVAILABLE", retry_after=1.0)

    def put(self, key: str, source: Path, *rest: Any, **more: Any) -> None:
        self._here()
        super().put(key, source, *rest, **more)

    def get(
        self, key: str, offset: int = 0, length: int | None = None
    ) -> Generator[bytes, None, None]:
        self._here()
        self.gets += 1
        return super().get(key, offset, length)

    def stat(self, key: str) -> StoredObject | None:
        self._here()
        return super().stat(key)


class Shelf:
    """One server's part of it, on a folder that outlives it."""

    def __init__(
        self,
        folder: Path,
        metastore: Metastore,
        limit: int = 1 << 30,
        store: type[Outage] = Outage,
        heartbeat: float = 15.0,
    ) -> None:
        (folder / "store").mkdir(exist_ok=True)
        url = (folder / "store").as_uri()
        self.store = store.from_settings(StoreSettings(name="files", url=url))
        self.metastore = metastore
        self.storage = Storage(metastore, self.store, Spool(folder / "spool"))
        self.journals = JournalStore(folder / "journals")
        self.cache = LogCache(self.storage, metastore, self.journals, limit)
        self.archiver = Archiver(self.storage, metastore, self.journals, self.cache)
        identity = metastore.identity
        codec = TokenCodec(identity.token_key, identity.history_id)
        self.logs = Logs(metastore, self.journals, codec, heartbeat, cache=self.cache)
        self.draining = asyncio.Event()

    @classmethod
    async def open(cls, folder: Path, **options: Any) -> Shelf:
        shelf = cls(folder, await Metastore.open(folder / "data"), **options)
        await shelf.cache.start()
        return shelf

    async def close(self) -> None:
        await self.storage.close()
        await self.metastore.close()

    async def ended(
        self, experiment_id: str, *segments: list[tuple[str, int, bytes]], ago: float = 0.0
    ) -> str:
        """An experiment whose only attempt has ended; its journal has these segments."""
        experiment = Experiment(
            name=f"teams/default/experiments/{experiment_id}",
            uid=new_uid(),
            state=ExperimentState.EXPERIMENT_STATE_SUCCEEDED,
            attempt=1,
        )
        for role in ("main", "side"):
            experiment.spec.task_groups.add(role=role)
        row = AttemptRow(experiment.uid, 1, "local", b"", self.metastore.clock())
        row.end_time = self.metastore.clock() - int(ago * 1e6)
        row.journal_server = self.metastore.server_id

        def insert(tx: Transaction) -> None:
            tx.insert_experiment(experiment)
            tx.insert_attempt(row)

        await self.metastore.write(insert)
        ends: dict[tuple[str, int], int] = {}
        for segment in segments:  # each writer begins one of its own
            writer = self.journals.writer(experiment.uid, 1)
            for task, stream, data in segment:
                start = ends.get((task, stream), 0)
                writer.append(task, stream, start, data, 1_000_000)
                ends[task, stream] = start + len(data)
            writer.close()
        writer = self.journals.writer(experiment.uid, 1)
        writer.seal()
        writer.close()
        row.logs_complete = row.settled = True
        await self.metastore.write_unversioned(lambda tx: tx.save_attempt(row))
        return experiment.uid

    async def archive(self) -> None:
        """Archives everything."""
        while await self.archiver.archive():
            pass

    async def evict(self, uid: str) -> None:
        assert await asyncio.to_thread(self.journals.evict, uid, 1)

    async def expire(self, kept: float) -> int:
        return await Retention(self.metastore, self.cache, timedelta(seconds=kept)).enforce()

    async def read(self, experiment_id: str, **fields: Any) -> list[StreamLogsResponse]:
        request = StreamLogsRequest(
            **(
                {"name": f"teams/default/experiments/{experiment_id}", "format": "LOG_FORMAT_BYTES"}
                | fields
            )
        )
        async with aclosing(self.logs.stream(request, self.draining)) as frames:
            return [StreamLogsResponse.FromString(frame) async for frame in frames]

    async def collect(self) -> int:
        """Condemns and removes, at once, all objects that nothing needs; returns how many."""
        await self.metastore.write_ordered(lambda tx: blobs.condemn(tx, tx.now + 1))
        gone = await self.metastore.write_ordered(
            lambda tx: blobs.condemned(tx, tx.now + 1_000_000)
        )
        for each in gone:
            self.store.delete(each.key)
        names = [each.id for each in gone]
        await self.metastore.write_ordered(lambda tx: blobs.remove(tx, names))
        return len(gone)

    def objects(self) -> int:
        return sum(1 for _ in self.store.list("objects/"))


def output(frames: list[StreamLogsResponse], task: str = "main-0", stream: int = OUT) -> bytes:
    chunks = [frame.chunk for frame in frames if frame.WhichOneof("frame") == "chunk"]
    return b"".join(each.data for each in chunks if (each.task, each.stream) == (task, stream))


def kinds(frames: list[StreamLogsResponse]) -> list[str]:
    return [str(frame.WhichOneof("frame")) for frame in frames]
