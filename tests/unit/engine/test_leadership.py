"""Who leads a cluster: one server at a time, and soon another one when it dies.

Two servers are two candidates, or two engines, on one metastore in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from subgrpc.config import ClusterSettings
from subgrpc.driver import ClusterConfig
from subgrpc.driver.local.driver import LocalDriver
from subgrpc.engine import Engine, EngineSettings
from subgrpc.engine.leadership import Candidate, Leadership
from subgrpc.errors import Aborted
from subgrpc.journal import JournalStore
from subgrpc.metastore import Lease, Metastore
from subgrpc.plugins import PluginManager
from subgrpc.secrets import FileSecrets
from subgrpc.v1.experiment_service_pb2 import Experiment

from .conftest import World, now, until

LENGTH = 0.5


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Metastore]:
    opened = await Metastore.open(tmp_path)
    opened.shared = True
    yield opened
    await opened.close()


def candidate(store: Metastore, server: str, home: str = "") -> Leadership:
    return Leadership(store, "gpu", Candidate(server, home, LENGTH))


def unseen(lease: Lease) -> None:
    """Nobody looks at who leads."""


async def test_a_dead_leader_has_stopped_acting_before_another_acts(store: Metastore) -> None:
    """The challenger gets the lease only after the holder's own time is over."""
    first, second = candidate(store, "a"), candidate(store, "b")
    await first.acquire(unseen)
    holders: list[str] = []
    challenge = asyncio.create_task(second.acquire(lambda lease: holders.append(lease.holder)))
    while True:
        done = challenge.done()
        try:
            first.check()
        except Aborted:
            break
        assert not done
        await asyncio.sleep(0.005)
    assert not done
    assert (await challenge).epoch == 2
    second.check()
    assert set(holders) == {"a"}


async def test_one_that_renews_is_not_challenged(store: Metastore) -> None:
    """For many times the lease's length."""
    first, second = candidate(store, "a"), candidate(store, "b")
    fence = await first.acquire(unseen)
    keeping = asyncio.create_task(first.keep(fence))
    challenge = asyncio.create_task(second.acquire(unseen))
    await asyncio.sleep(4 * LENGTH)
    first.check()
    assert not challenge.done()
    keeping.cancel()
    await first.release(fence)
    assert (await asyncio.wait_for(challenge, 10)).epoch == fence.epoch + 1


async def test_one_that_lost_its_lease_is_told(store: Metastore) -> None:
    """By its next renewal, at the latest."""
    first = candidate(store, "a")
    fence = await first.acquire(unseen)
    held = await store.lease("gpu")
    await store.write_unversioned(lambda tx: tx.take_over_lease(held, "gpu", "b", ""))
    with pytest.raises(Aborted):
        await asyncio.wait_for(first.keep(fence), 10)


async def test_another_home_takes_nothing_over(store: Metastore) -> None:
    """It would find none of the runs there, and think them lost; the same home may."""
    await candidate(store, "a", "node1:/runs").acquire(unseen)
    elsewhere = asyncio.create_task(candidate(store, "b", "node2:/runs").acquire(unseen))
    await asyncio.sleep(3 * LENGTH)
    assert not elsewhere.done()
    same = await asyncio.wait_for(candidate(store, "c", "node1:/runs").acquire(unseen), 10)
    assert same.epoch == 2
    elsewhere.cancel()


async def test_a_server_that_is_started_anew_does_not_wait_for_itself(store: Metastore) -> None:
    await candidate(store, "a").acquire(unseen)
    begun = asyncio.get_running_loop().time()
    again = candidate(store, "a")
    assert (await again.acquire(unseen)).epoch == 2
    assert asyncio.get_running_loop().time() - begun < LENGTH


def test_the_home_of_local_runs_is_their_machine_and_folder(tmp_path: Path) -> None:
    """Servers of one machine that name the same folder can follow each other."""
    shared = {"folder": str(tmp_path / "runs")}
    one = LocalDriver.home(ClusterConfig("local", "/data/1/local", shared))
    two = LocalDriver.home(ClusterConfig("local", "/data/2/local", shared))
    assert one == two
    alone = [LocalDriver.home(ClusterConfig("local", f"/data/{n}/local", {})) for n in (1, 2)]
    assert len({one, *alone}) == 3


class Pair:
    """Two servers, without their gRPC sides, that share a metastore and a backend."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.store = world.store
        self.journals: list[JournalStore] = []
        self.engines: list[Engine] = []

    async def start(self, folder: Path) -> None:
        for name in ("a", "b"):
            plugins = PluginManager()
            plugins.register(self.world.backend.plugin())
            journals = JournalStore(folder / name / "journals")
            engine = Engine(
                metastore=self.store,
                journals=journals,
                plugins=plugins,
                secrets=FileSecrets(folder / name / "secrets"),
                settings=EngineSettings(
                    clusters={"one": ClusterSettings("fake")},
                    default_cluster="one",
                    data_dir=folder / name / "clusters",
                    server=name,
                    lease_length=LENGTH,
                ),
            )
            await engine.start()
            self.journals.append(journals)
            self.engines.append(engine)

    def leader(self) -> str:
        lease = now(self.store.lease("one"))
        return lease.holder if lease else ""

    def wake(self, uid: str) -> None:
        for engine in self.engines:
            engine.wake(uid, "one")

    async def create(self) -> str:
        uid = await self.world.insert(Experiment())
        self.wake(uid)
        return uid

    async def usurp(self) -> None:
        """A third server takes the lease, and dies at once, having released it."""
        held = await self.store.lease("one")
        epoch = await self.store.write_unversioned(
            lambda tx: tx.take_over_lease(held, "one", "c", "")
        )
        await self.store.write_unversioned(lambda tx: tx.release_lease("one", epoch))


@pytest.fixture
async def pair(world: World, tmp_path: Path) -> AsyncIterator[Pair]:
    await world.engine.stop()
    world.store.shared = True
    made = Pair(world)
    await made.start(tmp_path / "pair")
    yield made
    for engine in made.engines:
        with contextlib.suppress(RuntimeError):
            await engine.stop()
    world.store.shared = False
    await world.engine.start()


async def test_the_other_server_goes_on_with_what_runs(pair: Pair) -> None:
    """Nothing is started again, its output is complete, and the journal's new place is known."""
    assert pair.leader() == "a"
    uid = await pair.create()
    world = pair.world
    await world.submitted(uid)
    world.set(uid, "RUNNING")
    world.write(uid, b"before\n")
    await world.reaches(uid, "RUNNING")
    await until(lambda: pair.journals[0].reader(uid, 1).end > 0)
    await pair.engines[0].stop()
    await until(lambda: pair.leader() == "b")
    world.write(uid, b"after\n")
    world.set(uid, "SUCCEEDED")
    await world.reaches(uid, "SUCCEEDED")
    await until(lambda: all(row.settled for row in now(world.store.attempts(uid))))
    [row] = now(world.store.attempts(uid))
    assert (row.journal_server, row.journal) == ("b", 1)
    assert not world.backend.runs
    batch = pair.journals[1].reader(uid, 1).read(0)
    assert b"".join(part for run in batch.runs for part in run.parts) == b"before\nafter\n"


async def test_leading_moves_back_and_forth_without_a_second_start(pair: Pair) -> None:
    """However often the lease is lost, each experiment runs once and comes to its end."""
    uids = []
    for _ in range(6):
        uids.append(await pair.create())
        await pair.usurp()
        await until(lambda: pair.leader() in ("a", "b"))
    for uid in uids:
        await pair.world.submitted(uid)
        pair.world.set(uid, "SUCCEEDED")
        pair.wake(uid)
        await pair.world.reaches(uid, "SUCCEEDED")
        await until(lambda uid=uid: all(row.settled for row in now(pair.store.attempts(uid))))
        assert len(now(pair.store.attempts(uid))) == 1
    assert not pair.world.backend.runs
