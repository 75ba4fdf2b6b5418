"""The contract finds defects: each broken backend fails the tests that are meant for it, only."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from subgrpc.driver import Driver
from subgrpc.testing.clock import VirtualLoop
from subgrpc.testing.simulated import SimulatedBackend
from tests.unit.testing.broken import (
    DEFECTS,
    Broken,
    ending,
    inputs,
    output,
    outputs,
    starting,
    watching,
)
from tests.unit.testing.test_contract import CONFIG, TESTS, FakeContract

MODULES = {module.__name__ for module in (starting, ending, inputs, output, outputs, watching)}
KINDS = [kind for kind in DEFECTS if kind.__module__ in MODULES]


def failures(kind: type[SimulatedBackend]) -> dict[str, str]:
    """Runs each test of the contract as pytest would; returns those that fail, with the reason."""
    found = {}
    for name in TESTS:
        loop = VirtualLoop()
        contract = FakeContract()
        contract.patience, contract.many_lines, contract.huge_line = 5, 100_000, 150_000
        try:
            loop.run_until_complete(run(contract, name, kind()))
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
        finally:
            end(loop)
    return found


async def run(contract: FakeContract, name: str, backend: SimulatedBackend) -> None:
    """One test, with its fixtures."""
    contract.backend = backend
    kind = backend.driver_class()

    async def start() -> Driver:
        driver = kind.from_config(CONFIG)
        await driver.start()
        return driver

    test = getattr(contract, name)
    if "drivers" in inspect.signature(test).parameters:
        await test(drivers=start)
    else:
        await test(driver=await start())


def end(loop: VirtualLoop) -> None:
    """Cancels whatever a broken backend left."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()

    async def finish() -> None:
        await asyncio.gather(*left, return_exceptions=True)

    loop.run_until_complete(finish())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def test_a_sound_backend_passes() -> None:
    """Without a defect nothing fails here."""
    assert failures(SimulatedBackend) == {}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_defects_are_found(kind: type[Broken]) -> None:
    """Exactly the tests that are meant for it fail, and say more than that they do."""
    found = failures(kind)
    assert set(found) == DEFECTS[kind], found
    assert not [text for text in found.values() if text.endswith(": ")]


def test_every_test_of_the_contract_can_fail() -> None:
    """There is a defect for each of them."""
    assert sorted(set(TESTS) - set().union(*DEFECTS.values())) == []
