"""Mutations that are committed together: each is kept or refused by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from subgrpc.errors import AlreadyExists, NotFound
from subgrpc.filters import EXPERIMENT_FIELDS, OrderBy, parse_filter
from subgrpc.metastore import Metastore, Transaction
from subgrpc.metastore.records import RequestKey
from subgrpc.v1.experiment_service_pb2 import Experiment, ExperimentEvent

from .conftest import experiment, insert


async def test_of_a_group_each_is_refused_alone(store: Metastore) -> None:
    """However many of it are, wherever they stand; what mutations read in between is right."""
    await insert(store, experiment("taken"), experiment("other"))

    def look(tx: Transaction) -> list[bool]:
        return [tx.experiment_by_name("red", f"n{number}") is not None for number in range(12)]

    async def one(number: int) -> object:
        if number % 4 == 1:
            return await insert(store, experiment(("taken", "other")[number % 2]))
        if number % 4 == 3:
            return await store.write(look)
        return await insert(store, experiment(f"n{number}", color="x"))

    results = await asyncio.gather(*(one(number) for number in range(12)), return_exceptions=True)
    for number, result in enumerate(results):
        if number % 4 == 1:
            assert isinstance(result, AlreadyExists)
        elif number % 4 == 3:
            assert result == [each < number and each % 2 == 0 for each in range(12)]
        else:
            assert result is None
    kept = [Experiment.FromString(each.after or b"") for each in await store.changes_after(2, 99)]
    assert [each.name.rpartition("/")[2] for each in kept] == ["n0", "n2", "n4", "n6", "n8", "n10"]
    for each in kept:
        assert await store.get_experiment_by_uid(each.uid) == each.SerializeToString(
            deterministic=True
        )


async def test_many_that_only_insert_are_stored_whole_or_refused_alone(store: Metastore) -> None:
    """Each with its labels, its event and its request id, whatever of it is taken already."""
    await insert(store, experiment("taken"))
    made = [experiment(f"n{number}", color="x", size=str(number)) for number in range(150)]
    made[0].name = made[70].name = made[149].name = "teams/red/experiments/taken"
    made[3].name = made[2].name
    made[90].labels.clear()

    def one(new: Experiment) -> Callable[[Transaction], None]:
        def mutate(tx: Transaction) -> None:
            tx.insert_experiment(new)
            tx.add_event(new.uid, ExperimentEvent(type="Created"))
            tx.remember("ann", "Create", new.uid, b"h" * 32, new.uid)

        return mutate

    results = await asyncio.gather(
        *(store.write(one(each)) for each in made), return_exceptions=True
    )
    refused = [number for number, result in enumerate(results) if result is not None]
    assert refused == [0, 3, 70, 149]
    assert all(getattr(results[number], "reason", "") == "EXPERIMENT_EXISTS" for number in refused)
    kept = [each for number, each in enumerate(made) if number not in refused]
    assert [each.after for each in await store.changes_after(1, 200)] == [
        each.SerializeToString(deterministic=True) for each in kept
    ]

    def known(tx: Transaction) -> list[str]:
        found = (tx.remembered("ann", "Create", each.uid) for each in made)
        return [each.uid for each in found if each is not None]

    assert await store.write(known) == [each.uid for each in kept]
    for each in made:
        events = await store.list_events(each.uid, after=0, limit=9)
        assert len(events.items) == (each in kept)
    chosen = parse_filter('labels.color = "x"', EXPERIMENT_FIELDS)
    order = OrderBy("create_time", descending=False)
    page = await store.list_experiments("red", filter=chosen, order=order, after=None, limit=200)
    assert len(page.items) == len(kept) - 1


async def test_a_crowd_goes_in_few_groups_and_holds_up_nobody(store: Metastore) -> None:
    """Of 64 callers that come again and again many go together; who is left is served at once."""
    groups: list[int] = []
    store.feed.listen(lambda: groups.append(store.revision))

    async def caller(number: int, times: int) -> None:
        for _ in range(times):
            for _ in range(2 * number):
                await asyncio.sleep(0)
            await insert(store, experiment())

    await asyncio.gather(*(caller(number, 8) for number in range(64)))
    assert store.revision == 512
    assert len(groups) <= 128
    await asyncio.gather(caller(0, 20), caller(1, 20))
    assert store.revision == 552


async def test_requests_of_one_group_are_known_to_each_other(store: Metastore) -> None:
    """Though they are looked up together, before any of them is carried out."""
    old = RequestKey("ann", "Create", "old")
    await store.write(lambda tx: tx.remember(*old, b"h" * 32, "uid-old"))

    async def once(name: str, fails: bool = False) -> str:
        key = RequestKey("ann", "Create", name)

        def mutate(tx: Transaction) -> str:
            known = tx.remembered(*key)
            if known is not None:
                return known.uid
            new = experiment()
            tx.insert_experiment(new)
            tx.remember(*key, b"h" * 32, new.uid)
            if fails:
                raise NotFound("no", reason="NO")
            return new.uid

        return await store.write(mutate, request=key)

    names = [f"r{number % 20}" for number in range(40)]
    failed, *done = await asyncio.gather(
        once("r0", fails=True),
        once("old"),
        *(once(name) for name in names),
        return_exceptions=True,
    )
    assert isinstance(failed, NotFound)
    assert done[0] == "uid-old"
    assert done[1:21] == done[21:]
    assert len(set(done[1:])) == 20
    assert len(await store.changes_after(0, 99)) == 20
