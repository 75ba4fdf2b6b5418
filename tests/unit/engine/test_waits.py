"""How long experiments wait does not depend on what becomes of the wall clock meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from subgrpc.engine.waits import Waits
from subgrpc.testing.clock import VirtualPolicy

HOUR = 3600 * 1_000_000
START = 1_000 * HOUR


@pytest.fixture
def event_loop_policy() -> VirtualPolicy:
    return VirtualPolicy()


@pytest.mark.parametrize("jump", [HOUR, 0, -HOUR])
async def test_a_clock_that_jumps_neither_ends_nor_prolongs_a_wait(jump: int) -> None:
    waits = Waits()
    assert waits.left("a", START, 60.0, START) == 60.0
    await asyncio.sleep(45)
    assert waits.left("a", START, 60.0, START + 45_000_000 + jump) == pytest.approx(15)
    await asyncio.sleep(15)
    assert waits.left("a", START, 60.0, START + 60_000_000 + jump) == pytest.approx(0, abs=1e-6)


async def test_a_wait_goes_on_after_a_restart() -> None:
    """The first look is by the wall clock; one that was set back since makes it begin anew."""
    assert Waits().left("a", START, 60.0, START + 20_000_000) == 40.0
    assert Waits().left("a", START, 60.0, START + HOUR) < 0
    assert Waits().left("a", START, 60.0, START - HOUR) == 60.0


async def test_every_wait_is_its_own() -> None:
    """That of the next attempt begins when it begins; one that was forgotten as well."""
    waits = Waits()
    waits.left("a", START, 60.0, START)
    await asyncio.sleep(30)
    assert waits.left("b", START, 60.0, START) == 60.0
    assert waits.left("a", START + 1, 60.0, START + 1) == 60.0
    waits.forget("b")
    assert waits.left("b", START, 60.0, START) == 60.0
