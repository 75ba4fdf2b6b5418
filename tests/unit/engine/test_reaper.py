"""Workloads of this control plane that it does not know are removed: not at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from subgrpc.engine import reaper
from subgrpc.metastore import offline

from .conftest import World, until


async def unknown(world: World) -> str:
    """A workload that runs, and whose experiment is not in the metastore any more."""
    uid = await world.create()
    await world.submitted(uid)
    world.set(uid, "RUNNING")
    await world.reaches(uid, "RUNNING")
    await world.store.write(lambda tx: tx.delete_experiment(uid))
    world.set(uid, "RUNNING", message="still here")
    return uid


def deletes(world: World, uid: str) -> int:
    return world.backend.calls.count(("delete", (uid, 1)))


async def test_an_unknown_workload_is_removed_after_a_grace_period(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before: its record may be on its way."""
    monkeypatch.setattr(reaper, "GRACE", 1.0)
    uid = await unknown(world)
    seen = asyncio.get_running_loop().time()
    await until(lambda: (uid, 1) not in world.backend.runs)
    assert asyncio.get_running_loop().time() - seen >= 0.9
    assert deletes(world, uid) == 1


async def test_after_a_restore_it_is_left_alone_until_that_is_confirmed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be what the backup does not know of."""
    monkeypatch.setattr(reaper, "GRACE", 0.1)
    await world.stop()
    offline.begin_history(offline.Place(tmp_path))
    await world.start()
    uid = await unknown(world)
    await asyncio.sleep(1.0)
    assert (uid, 1) in world.backend.runs
    assert deletes(world, uid) == 0
    assert offline.confirm(offline.Place(tmp_path))
    await until(lambda: (uid, 1) not in world.backend.runs)


async def test_a_known_workload_is_never_reaped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "GRACE", 0.05)
    uid = await world.create()
    await world.submitted(uid)
    for _ in range(10):
        world.set(uid, "RUNNING", message="again")
        await asyncio.sleep(0.05)
    assert deletes(world, uid) == 0
    world.set(uid, "SUCCEEDED")
    await world.reaches(uid, "SUCCEEDED")
