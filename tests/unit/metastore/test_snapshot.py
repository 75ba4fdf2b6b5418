from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest

from subgrpc.errors import OutOfRange
from subgrpc.filters import EXPERIMENT_FIELDS, parse_filter
from subgrpc.metastore import Metastore, snapshot
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment

from .conftest import Open, experiment, insert, set_state

STATES = (api.EXPERIMENT_STATE_QUEUED, api.EXPERIMENT_STATE_RUNNING, api.EXPERIMENT_STATE_FAILED)


async def state_at(store: Metastore, revision: int, team: str) -> dict[str, bytes]:
    """What there was at a revision, by the change log."""
    found: dict[str, bytes] = {}
    for change in await store.changes_after(0, 1_000_000):
        if change.revision <= revision and change.team == team:
            if change.after is None:
                found.pop(change.uid, None)
            else:
                found[change.uid] = change.after
    return dict(sorted(found.items()))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("text", ["", "state = RUNNING", "labels.kind = a OR state = FAILED"])
async def test_it_is_of_one_revision_whatever_changes_meanwhile(
    store: Metastore, monkeypatch: pytest.MonkeyPatch, seed: int, text: str
) -> None:
    """Each experiment once, by uid, as it was when the snapshot began."""
    monkeypatch.setattr(snapshot, "ROWS", 3)
    chance = random.Random(seed)
    alive: list[str] = []

    async def change_something() -> None:
        kind = chance.randrange(4)
        if kind == 0 or not alive:
            new = experiment(team=chance.choice(("red", "blue")), kind=chance.choice("ab"))
            new.state = chance.choice(STATES)
            await insert(store, new)
            alive.append(new.uid)
        elif kind == 1:
            uid = alive.pop(chance.randrange(len(alive)))
            await store.write(lambda tx: tx.delete_experiment(uid))
        else:
            await set_state(
                store, chance.choice(alive), chance.choice(STATES), str(chance.random())
            )

    for _ in range(60):
        await change_something()
    chosen = parse_filter(text, EXPERIMENT_FIELDS)
    taken = await store.snapshot("red", chosen)
    expected = await state_at(store, taken.revision, "red")
    items = []
    async for item in taken.items:
        items.append(item.body)
        if chance.random() < 0.7:
            await change_something()
    assert items == [
        body
        for body in expected.values()
        if chosen is None or chosen.matches(Experiment.FromString(body))
    ]


async def test_too_slow_a_reader_is_told(
    tmp_path: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "ROWS", 2)
    store = await open_store(tmp_path, change_retention=timedelta(0))
    await insert(store, *(experiment() for _ in range(8)))
    items = aiter((await store.snapshot("red", None)).items)
    await anext(items)
    await insert(store, experiment())
    await store.prune()
    with pytest.raises(OutOfRange) as caught:
        [each async for each in items]
    assert caught.value.reason == "RESUME_TOKEN_EXPIRED"
    await store.close()
