from __future__ import annotations

import asyncio
import contextlib
import resource
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from subgrpc.errors import Aborted, AlreadyExists, NotFound, Unavailable
from subgrpc.metastore import Fence, Metastore, Transaction
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentEvent

from .conftest import Open, experiment, insert, inserting, set_state


async def test_a_read_sees_the_write_that_was_awaited(store: Metastore) -> None:
    one = experiment("one", color="blue")
    await insert(store, one)
    raw = await store.get_experiment("red", "one")
    assert raw is not None
    assert Experiment.FromString(raw) == one
    assert await store.get_experiment_by_uid(one.uid) == raw
    assert one.etag == "1"
    assert one.HasField("create_time")
    assert one.create_time == one.update_time


async def test_revisions_have_no_holes_where_mutations_fail(store: Metastore) -> None:
    """Each mutation of a group has its own revision; one that fails, or writes nothing, none."""

    def fail(tx: Transaction) -> None:
        tx.insert_experiment(experiment())
        raise KeyError("no")

    def look(tx: Transaction) -> None:
        assert tx.experiment("nobody") is None

    good = [experiment(f"n{number}") for number in range(20)]
    writes = []
    for each in good:
        writes.append(store.write(inserting(each)))
        writes.append(store.write(fail))
        writes.append(store.write(look))
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert all(isinstance(each, KeyError) for each in results[1::3])
    assert results[::3] == [None] * 20
    assert [int(each.etag, 16) for each in good] == list(range(1, 21))
    changes = await store.changes_after(0, 1000)
    assert [change.revision for change in changes] == list(range(1, 21))
    assert store.feed.after(0) == changes
    assert store.revision == 20


async def test_a_taken_name_is_refused_and_the_rest_of_the_group_stays(store: Metastore) -> None:
    """Uniqueness is the team's: another team may use the same id."""
    results = await asyncio.gather(
        insert(store, experiment("same")),
        insert(store, experiment("same")),
        insert(store, experiment("same", team="blue")),
        return_exceptions=True,
    )
    (refused,) = [each for each in results if each is not None]
    assert isinstance(refused, AlreadyExists)
    assert refused.reason == "EXPERIMENT_EXISTS"
    # A refused one may have used a revision up: one without changes.
    assert len(await store.changes_after(0, 9)) == 2
    assert store.feed.after(0) == await store.changes_after(0, 9)


async def test_saving_what_is_stored_changes_nothing(store: Metastore) -> None:
    one = experiment("one", color="blue")
    await insert(store, one)
    etag = one.etag
    await store.write(lambda tx: tx.save_experiment(one))
    assert (one.etag, store.revision) == (etag, 1)
    one.message = "new"
    await store.write(lambda tx: tx.save_experiment(one))
    assert (one.etag, store.revision) == ("2", 2)
    change = (await store.changes_after(1, 10))[0]
    assert change.before is not None
    assert Experiment.FromString(change.before).message == ""
    assert change.after == one.SerializeToString(deterministic=True)
    assert (change.uid, change.team) == (one.uid, "red")


async def test_a_mutation_sees_its_own_writes(store: Metastore) -> None:
    one = experiment("one")

    def mutate(tx: Transaction) -> list[str]:
        tx.insert_experiment(one)
        found = tx.experiment_by_name("red", "one")
        assert found == one
        found.message = "second"
        tx.save_experiment(found)
        again = tx.experiment(one.uid)
        assert again is not None
        return [again.message]

    assert await store.write(mutate) == ["second"]
    assert [change.ordinal for change in await store.changes_after(0, 9)] == [0, 1]


async def test_saving_what_is_not_there_is_not_found(store: Metastore) -> None:
    with pytest.raises(NotFound) as caught:
        await store.write(lambda tx: tx.save_experiment(experiment()))
    assert caught.value.reason == "EXPERIMENT_NOT_FOUND"


async def test_deleting_leaves_nothing_but_the_change(store: Metastore) -> None:
    one = experiment("one", color="blue")
    await insert(store, one)
    await store.write(lambda tx: tx.add_event(one.uid, ExperimentEvent(type="Created")))
    await store.write(lambda tx: tx.delete_experiment(one.uid))
    assert await store.get_experiment("red", "one") is None
    assert (await store.changes_after(2, 9))[0].after is None
    await store.write(lambda tx: tx.delete_experiment(one.uid))
    for table in ("experiment", "label", "event", "attempt", "task"):
        assert await store._reader.one(f"SELECT count(*) FROM {table}") == (0,)
    await insert(store, experiment("one"))


async def test_experiments_do_not_change_without_a_revision(store: Metastore) -> None:
    with pytest.raises(RuntimeError):
        await store.write_unversioned(lambda tx: tx.insert_experiment(experiment()))
    assert store.revision == 0


async def test_events_are_numbered_without_holes(store: Metastore) -> None:
    one = experiment("one")
    await insert(store, one)

    def two_events(tx: Transaction) -> None:
        for _ in range(2):
            tx.add_event(one.uid, ExperimentEvent(type="x"))

    for _ in range(3):
        await store.write(two_events)
    page = await store.list_events(one.uid, after=0, limit=4)
    assert page.next == [4]
    rest = await store.list_events(one.uid, after=4, limit=4)
    assert rest.next is None
    events = [ExperimentEvent.FromString(raw) for raw in (*page.items, *rest.items)]
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6]
    assert all(event.HasField("time") for event in events)


async def test_a_fence_stops_the_former_leader(store: Metastore) -> None:
    """Nothing of a write under a lost or released lease is kept, and it takes no revision."""
    epoch = await store.write_unversioned(lambda tx: tx.acquire_lease("local", "a"))
    fence = Fence("local", epoch)
    await store.write(lambda tx: tx.insert_experiment(experiment()), fence=fence)
    newer = await store.write_unversioned(lambda tx: tx.acquire_lease("clusters/local", "b"))
    assert newer == epoch + 1
    for stale in (fence, Fence("other", 1)):
        with pytest.raises(Aborted) as caught:
            await store.write(lambda tx: tx.insert_experiment(experiment()), fence=stale)
        assert caught.value.reason == "LEASE_LOST"
    with pytest.raises(Aborted):
        await store.write_unversioned(lambda tx: tx.renew_lease("local", epoch))
    await store.write_unversioned(lambda tx: tx.release_lease("local", epoch))
    await store.write_unversioned(
        lambda tx: tx.renew_lease("local", newer), fence=Fence("local", newer)
    )
    held = await store.lease("local")
    assert held is not None
    assert (held.holder, held.epoch, held.renewals) == ("b", newer, 2)
    await store.write_unversioned(lambda tx: tx.release_lease("local", newer))
    with pytest.raises(Aborted):
        await store.write(lambda tx: None, fence=Fence("local", newer))
    assert store.revision == 1


async def test_the_feed_is_fed_before_the_writer_goes_on(store: Metastore) -> None:
    for number in range(1, 5):
        await insert(store, experiment())
        assert store.feed.revision == number
        changes = store.feed.after(number - 1)
        assert changes is not None
        assert len(changes) == 1


async def test_cancelled_callers_leave_whole_writes_or_none(store: Metastore) -> None:
    """However callers are cancelled, each mutation is there whole or not at all."""
    release = threading.Event()
    blocker = asyncio.ensure_future(store.write(lambda tx: release.wait(10)))
    await asyncio.sleep(0)
    waiting = [experiment(f"w{number}", color="x") for number in range(50)]
    tasks = [asyncio.ensure_future(insert(store, each)) for each in waiting]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.sleep(0)
    release.set()
    await blocker
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in results[::2])
    assert results[1::2] == [None] * 25
    assert store.revision == len(await store.changes_after(0, 1000)) == 25
    running = asyncio.ensure_future(insert(store, experiment("late")))
    await asyncio.sleep(0)
    running.cancel()
    await insert(store, experiment("after"))
    assert await store.get_experiment("red", "after") is not None


async def test_close_carries_out_what_was_submitted(tmp_path: Path, open_store: Open) -> None:
    store = await open_store(tmp_path)
    tasks = [asyncio.ensure_future(insert(store, experiment())) for _ in range(600)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*tasks)
    with pytest.raises(Unavailable):
        await insert(store, experiment())
    with pytest.raises(Unavailable):
        await store.get_experiment("red", "x")
    again = await open_store(tmp_path)
    assert again.revision == 600
    await again.close()


@contextlib.contextmanager
def no_file_may_grow_beyond(size: int) -> Iterator[None]:
    """What a full disk looks like to this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.sqlite
async def test_a_full_disk_fails_the_group_and_nothing_else(
    store: Metastore, tmp_path: Path
) -> None:
    """The group is told UNAVAILABLE, nothing of it is kept, and writes go on once there is room."""
    await insert(store, experiment("first"))
    size = (tmp_path / "data" / "metastore.db-wal").stat().st_size
    with no_file_may_grow_beyond(size):
        results = await asyncio.gather(
            *(insert(store, experiment()) for _ in range(40)), return_exceptions=True
        )
    assert all(isinstance(each, Unavailable) for each in results), results
    assert {each.reason for each in results if isinstance(each, Unavailable)} == {
        "METASTORE_UNAVAILABLE"
    }
    assert store.revision == 1
    assert await store.changes_after(1, 10) == []
    await insert(store, experiment("second"))
    assert store.revision == 2


@pytest.mark.sqlite
async def test_a_foreign_lock_is_unavailable_until_it_is_gone(
    store: Metastore, tmp_path: Path
) -> None:
    path = tmp_path / "data" / "metastore.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            await insert(store, experiment())
        foreign.execute("ROLLBACK")
    await insert(store, experiment())


async def test_a_mutation_that_raises_what_futures_cannot_hold_still_answers(
    store: Metastore,
) -> None:
    def stop(tx: Transaction) -> None:
        raise StopIteration

    def leave(tx: Transaction) -> None:
        raise SystemExit(3)

    for mutation in (stop, leave):
        with pytest.raises(RuntimeError):
            await store.write(mutation)
    await insert(store, experiment())


@pytest.mark.sqlite
async def test_writes_beside_readers_keep_the_log_small(store: Metastore, tmp_path: Path) -> None:
    """Reads leave no statement open behind them: else the write-ahead log would grow for ever."""
    one = experiment("one")
    await insert(store, one)
    one.spec.task_groups.add(command="x" * 100_000)
    for number in range(200):
        await set_state(store, one.uid, api.EXPERIMENT_STATE_RUNNING, f"{number}" + "y" * 50_000)
        await store.get_experiment("red", "one")
        await store.changes_after(0, 1)
        await anext(aiter((await store.snapshot("red", None)).items))
    assert (tmp_path / "data" / "metastore.db-wal").stat().st_size < 12 << 20


async def test_request_ids_are_remembered_for_a_day(store: Metastore) -> None:
    """By principal, method and id."""
    await store.write(lambda tx: tx.remember("ann", "Create", "r1", b"h" * 32, "uid1"))

    def look(tx: Transaction) -> list[object]:
        keys = [("ann", "Create", "r1"), ("bob", "Create", "r1"), ("ann", "Delete", "r1")]
        return [tx.remembered(*key) for key in keys]

    assert await store.write(look) == [(b"h" * 32, "uid1"), None, None]

    def tomorrow(tx: Transaction) -> None:
        tx.now += 24 * 3600 * 1_000_000
        assert tx.remembered("ann", "Create", "r1") is None
        tx.remember("ann", "Create", "r1", b"i" * 32, "uid2")

    await store.write(tomorrow)
    assert (await store.write(look))[0] == (b"i" * 32, "uid2")
