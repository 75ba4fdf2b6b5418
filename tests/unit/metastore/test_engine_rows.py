from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from subgrpc.errors import AlreadyExists, NotFound, OutOfRange
from subgrpc.filters import TASK_FIELDS, parse_filter
from subgrpc.metastore import AttemptRow, Metastore, Transaction
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.cluster_service_pb2 import Cluster
from subgrpc.v1.experiment_service_pb2 import Task
from subgrpc.v1.types_pb2 import TaskState, TaskStatus

from .conftest import Open, experiment, insert, set_state, steps


def attempt(uid: str, number: int = 1, cluster: str = "local") -> AttemptRow:
    return AttemptRow(uid, number, cluster, b"handle", 5)


async def test_attempts_are_kept_whole(store: Metastore) -> None:
    row = attempt("u")
    await store.write(lambda tx: tx.insert_attempt(row))
    assert await store.attempt("u", 1) == row
    assert row.cluster == "clusters/local"
    row.start_time, row.end_time, row.stopping = 6, 7, "Timeout"
    row.reason, row.message, row.logs_complete, row.settled = "ExitCode", "it", True, True
    await store.write_unversioned(lambda tx: tx.save_attempt(row))
    assert await store.attempts("u") == [row]
    assert await store.attempt("u", 2) is None
    assert await store.write(lambda tx: tx.attempt("u", 1)) == row


async def test_saving_an_attempt_as_it_is_takes_no_revision(store: Metastore) -> None:
    row = attempt("u")
    await store.write(lambda tx: tx.insert_attempt(row))
    await store.write(lambda tx: tx.save_attempt(row))
    await store.write(lambda tx: tx.save_attempt(row))
    row.message = "new"

    def save(tx: Transaction) -> int:
        tx.save_attempt(row)
        return tx.revision

    assert await store.write(save) == 2


async def test_attempts_are_made_once_and_saved_only_then(store: Metastore) -> None:
    with pytest.raises(NotFound) as missing:
        await store.write(lambda tx: tx.save_attempt(attempt("u")))
    assert missing.value.reason == "ATTEMPT_NOT_FOUND"
    await store.write(lambda tx: tx.insert_attempt(attempt("u")))
    with pytest.raises(AlreadyExists) as taken:
        await store.write(lambda tx: tx.insert_attempt(attempt("u")))
    assert taken.value.reason == "ATTEMPT_EXISTS"


async def test_unsettled_is_what_the_engine_still_has_to_do(store: Metastore) -> None:
    """Not ended, or DELETING, or with an attempt that is not settled; of this cluster only."""
    waiting, done, unsettled, deleting = (experiment() for _ in range(4))
    elsewhere = experiment(cluster="clusters/other")
    await insert(store, waiting, done, unsettled, deleting, elsewhere)
    for each in (done, unsettled):
        await set_state(store, each.uid, api.EXPERIMENT_STATE_SUCCEEDED)
    await set_state(store, deleting.uid, api.EXPERIMENT_STATE_DELETING)
    settled = attempt(done.uid)
    settled.settled = True
    await store.write(lambda tx: tx.insert_attempt(settled))
    await store.write(lambda tx: tx.insert_attempt(attempt(unsettled.uid)))
    assert await store.unsettled("local") == sorted([waiting.uid, unsettled.uid, deleting.uid])
    assert await store.unsettled("clusters/other") == [elsewhere.uid]
    shown = await steps(store, store._statements.unsettled, ("clusters/local",) * 2)
    assert "ix_experiment_active" in shown
    assert "ix_attempt_unsettled" in shown


def statuses(*found: tuple[str, int, TaskState.ValueType]) -> list[TaskStatus]:
    return [TaskStatus(role=role, index=index, state=state) for role, index, state in found]


def saving_tasks(uid: str, number: int, found: list[TaskStatus]) -> Callable[[Transaction], None]:
    return lambda tx: tx.save_tasks(uid, number, found)


def saving_cluster(cluster: Cluster) -> Callable[[Transaction], None]:
    return lambda tx: tx.save_cluster(cluster)


async def test_tasks_are_stored_by_role_and_index(store: Metastore) -> None:
    """Those that are not given stay; the same again writes nothing."""
    one = experiment("one")
    await insert(store, one)
    queued, failed = TaskState.TASK_STATE_QUEUED, TaskState.TASK_STATE_FAILED
    first = statuses(("ps", 0, queued), ("worker", 0, queued), ("worker", 1, queued))
    await store.write(lambda tx: tx.save_tasks(one.uid, 1, first))
    assert await store.task_statuses(one.uid, 1) == first

    def save_again(tx: Transaction) -> bool:
        tx.save_tasks(one.uid, 1, first)
        return tx.wrote

    assert not await store.write(save_again)
    await store.write(lambda tx: tx.save_tasks(one.uid, 1, statuses(("worker", 1, failed))))
    assert [each.state for each in await store.task_statuses(one.uid, 1)] == [
        queued,
        queued,
        failed,
    ]

    def both(tx: Transaction) -> list[TaskStatus]:
        tx.save_tasks(one.uid, 2, statuses(("worker", 0, failed), ("worker", 0, queued)))
        return tx.task_statuses(one.uid, 2)

    assert await store.write(both) == statuses(("worker", 0, queued))


async def test_tasks_are_listed_by_attempt_role_and_index(store: Metastore) -> None:
    one = experiment("one")
    await insert(store, one)
    failed, done = TaskState.TASK_STATE_FAILED, TaskState.TASK_STATE_SUCCEEDED
    for number in (1, 2):
        found = [("w", index, failed if index % 2 else done) for index in range(12)]
        await store.write(saving_tasks(one.uid, number, statuses(*found, ("a", 0, done))))

    async def listed(number: int | None, text: str = "", limit: int = 5) -> list[str]:
        names, after = [], None
        while True:
            chosen = parse_filter(text, TASK_FIELDS)
            page = await store.list_tasks(one.uid, number, filter=chosen, after=after, limit=limit)
            names += [Task.FromString(raw).name for raw in page.items]
            after = page.next
            if after is None:
                return [name.removeprefix("teams/red/experiments/one/") for name in names]

    assert (await listed(1))[:3] == [
        "attempts/1/tasks/a-0",
        "attempts/1/tasks/w-0",
        "attempts/1/tasks/w-1",
    ]
    workers = await listed(2, "role = w")
    assert [name.rpartition("-")[2] for name in workers] == [*map(str, range(12))]
    assert len(await listed(None)) == 26
    assert await listed(None, "state = FAILED AND index < 3") == [
        "attempts/1/tasks/w-1",
        "attempts/2/tasks/w-1",
    ]
    assert await listed(3) == []


async def test_clusters_are_published_by_name(store: Metastore) -> None:
    for name in ("b", "a"):
        await store.write_unversioned(saving_cluster(Cluster(name=f"clusters/{name}", driver="x")))
    await store.write_unversioned(
        lambda tx: tx.save_cluster(Cluster(name="clusters/a", driver="y"))
    )
    found = [Cluster.FromString(raw) for raw in await store.list_clusters()]
    assert [(each.name, each.driver) for each in found] == [
        ("clusters/a", "y"),
        ("clusters/b", "x"),
    ]
    assert await store.get_cluster("clusters/b") == found[1].SerializeToString()
    await store.write_unversioned(lambda tx: tx.remove_cluster("clusters/b"))
    assert await store.get_cluster("clusters/b") is None
    assert store.revision == 0


async def test_old_changes_are_pruned_and_said_to_be(tmp_path: Path, open_store: Open) -> None:
    """Someone who stands exactly at the oldest revision can go on; one before it cannot."""
    store = await open_store(tmp_path, change_limit=3)
    await insert(store, *(experiment() for _ in range(10)))
    await store.prune()
    assert await store.oldest_revision() == 7
    assert [change.revision for change in await store.changes_after(7, 100)] == [8, 9, 10]
    with pytest.raises(OutOfRange) as caught:
        await store.changes_after(6, 100)
    assert caught.value.reason == "RESUME_TOKEN_EXPIRED"
    assert store.revision == 10
    await store.close()


async def test_pruning_by_age_takes_all_that_is_too_old(tmp_path: Path, open_store: Open) -> None:
    store = await open_store(tmp_path, change_retention=timedelta(0))

    def many(tx: Transaction) -> None:
        for _ in range(700):
            tx.insert_experiment(experiment())

    await store.write(many)
    await insert(store, experiment())
    await store.prune()
    assert await store.oldest_revision() == 2
    assert await store.changes_after(2, 9) == []
    assert store.feed.after(1) is not None
    await store.close()


async def test_fresh_changes_and_requests_are_not_pruned(store: Metastore) -> None:
    await insert(store, experiment())
    await store.write(lambda tx: tx.remember("p", "m", "r", b"h", "u"))
    await store.prune()
    assert await store.oldest_revision() == 0
    assert await store.write(lambda tx: tx.remembered("p", "m", "r")) is not None

    def yesterday(tx: Transaction) -> None:
        tx.now -= 25 * 3600 * 1_000_000
        tx.remember("p", "m", "old", b"h", "u")

    await store.write(yesterday)
    await store.prune()
    rows = await store._reader.all("SELECT request_id FROM request")
    assert rows == [("r",)]


async def test_changes_come_in_whole_revisions(store: Metastore) -> None:
    def several(tx: Transaction) -> None:
        for _ in range(3):
            tx.insert_experiment(experiment())

    for _ in range(4):
        await store.write(several)
    assert [change.revision for change in await store.changes_after(0, 2)] == [1, 1, 1]
    assert [change.revision for change in await store.changes_after(0, 7)] == [1, 1, 1, 2, 2, 2]
    assert [change.revision for change in await store.changes_after(0, 6)] == [1, 1, 1, 2, 2, 2]
    assert len(await store.changes_after(0, 12)) == 12
