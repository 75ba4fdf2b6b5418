"""Uploads, creations, deletions and collectors without any grace, all at the same time.

The collectors take whatever they may, as soon as they may. Whoever makes an artifact may have to
send blobs again; what was made is whole, and what nobody needs any more goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from subgrpc.admin.check import check
from subgrpc.errors import Aborted, FailedPrecondition, SubgrpcError
from subgrpc.metastore import Transaction
from subgrpc.services.artifacts.garbage import Collector
from subgrpc.v1.artifact_service_pb2 import Artifact

from .conftest import Parts, content, file

NO_GRACE = timedelta(0)
WORKERS = 4
ARTIFACTS = 25
"""That each worker makes."""
POOL = [content(size, seed) for size in (40, 3_000, 9_000, 20_000, 70_000) for seed in range(8)]
"""Few blobs, so that the same ones are wanted again and again, in packs and by themselves."""
AGAIN = ("BLOBS_MISSING", "OBJECT_CONDEMNED")


class World:
    """Those who make and delete artifacts, and the artifacts that should be there."""

    def __init__(self, servers: Sequence[Parts], seed: int) -> None:
        self.kept: dict[str, tuple[Parts, Artifact]] = {}
        self.repeated = 0
        self._servers = servers
        self._seed = seed
        self._random = random.Random(seed)

    async def work(self, number: int) -> None:
        """Makes artifacts, and deletes some of those that there are."""
        own = random.Random(self._random.random())
        for index in range(ARTIFACTS):
            server = own.choice(self._servers)
            made = await self._make(server, own, f"a-{self._seed}-{number}-{index}")
            self.kept[made.uid] = (server, made)
            if own.random() < 0.5:
                _, gone = self.kept.pop(own.choice(list(self.kept)))
                await server.delete(gone)

    async def _make(self, server: Parts, own: random.Random, name: str) -> Artifact:
        """As a client does: sends what is missing, refers to it, and begins anew if that fails."""
        blobs = [own.sample(POOL, own.randint(1, 3)) for _ in range(own.randint(1, 6))]
        files = [file(f"f{number}", *chunks) for number, chunks in enumerate(blobs)]
        opened = await server.create((), name, ready=False) if own.random() < 0.5 else None
        while True:
            try:
                await self._upload(server, own, [each for chunks in blobs for each in chunks])
                if opened is None:
                    return await server.create(files, name)
                while opened.file_count < len(files):
                    index = opened.file_count
                    opened = await server.making.add(opened.name, index, files[index : index + 1])
                return await server.making.finish(opened.name, "")
            except (Aborted, FailedPrecondition) as error:
                if error.reason not in AGAIN:
                    raise
                self.repeated += 1

    async def _upload(self, server: Parts, own: random.Random, blobs: list[bytes]) -> None:
        """Some uploads are cut off, wherever they are, and begun again."""
        while own.random() < 0.2:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(server.upload(blobs), own.random() * 0.01)
        await server.upload(blobs)


async def collecting(collector: Collector, seed: int) -> None:
    """Collects all the time, now and then with a pause in which somebody can finish something."""
    own = random.Random(seed)
    while True:
        async for _ in collector.collect(NO_GRACE):
            await asyncio.sleep(0)
        await asyncio.sleep(own.choice((0.0, 0.0, 0.02)))


async def race(world: World, collectors: Sequence[Collector], seed: int, limit: float) -> bool:
    """Lets all of them run until the artifacts are made, and returns True; or for `limit` s."""
    collections = [
        asyncio.ensure_future(collecting(each, seed + number))
        for number, each in enumerate(collectors)
    ]
    workers = [asyncio.ensure_future(world.work(number)) for number in range(WORKERS)]
    made = asyncio.gather(*workers)
    try:
        await asyncio.wait((made, *collections), timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        for each in (made, *collections):
            if each.done():
                each.result()
        return made.done()
    finally:
        for each in (*workers, *collections):
            each.cancel()
        await asyncio.gather(*workers, *collections, made, return_exceptions=True)


async def damage(world: World) -> list[str]:
    """What is wrong with the artifacts that should be there."""
    found = []
    for server, artifact in world.kept.values():
        found += await server.damaged(artifact)
    return found


async def sweep(parts: Parts) -> None:
    for _ in range(2):
        async for _ in parts.collector.collect(NO_GRACE):
            pass


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_made_is_whole(
    servers: list[Parts], databases: Any, tmp_path: Path, seed: int
) -> None:
    """Promise: no object is removed that an artifact came to need, and no other one stays."""
    collectors = [each.collector for each in servers] * (3 - len(servers))
    world = World(servers, seed)
    assert await race(world, collectors, seed, limit=50)
    assert await damage(world) == []
    report = await asyncio.to_thread(check, tmp_path / "0", databases.of(tmp_path / "0"))
    assert report.problems == []
    assert report.artifacts == len(world.kept)
    assert world.repeated, "nothing was ever collected between an upload and its use"
    for server, artifact in world.kept.values():
        await server.delete(artifact)
    # What an upload that was cut off left in the store without a name is found there.
    await sweep(servers[0])
    left = [path for path in (tmp_path / "store" / "objects").rglob("*") if path.is_file()]
    assert left == []


class LooksFirst(Collector):
    """Looks for what nobody needs, and condemns it a moment later without looking again."""

    async def _condemn(self, before: int) -> int:
        unused = "SELECT id FROM object WHERE users = 0 AND condemned_time = 0"
        found = await self._store.write_unversioned(lambda tx: tx.query(unused))
        await asyncio.sleep(0.01)

        def condemn(tx: Transaction) -> int:
            for (name,) in found:
                tx.run(f"UPDATE object SET condemned_time = {tx.now} WHERE id = '{name}'", ())
            return 0

        return await self._store.write_ordered(condemn)


class LooksAtNothing(Collector):
    """Takes what was condemned, and condemns what is there, whoever needs it."""

    async def _condemn(self, before: int) -> int:
        sql = f"UPDATE object SET condemned_time = {before}, users = 0 WHERE condemned_time = 0"
        await self._store.write_ordered(lambda tx: tx.run(sql, ()))
        return 0


@pytest.mark.parametrize("mutant", [LooksFirst, LooksAtNothing])
async def test_a_collector_that_does_not_look_is_caught(
    servers: list[Parts], mutant: type[Collector]
) -> None:
    """The race finds the mistake that it is made for, whoever makes it."""
    collectors = [mutant(each.metastore, each.storage) for each in servers]
    for seed in range(20):
        world = World(servers, seed)
        with contextlib.suppress(SubgrpcError):
            await race(world, collectors, seed, limit=2)
        if await damage(world):
            return
        for server, artifact in world.kept.values():
            await server.delete(artifact)
    pytest.fail("no artifact was damaged")
