"""The suite that every driver passes: subclass it, give it one fixture, run it with pytest.

::

    from subgrpc.testing.contract import DriverContract, NewDriver

    class TestSlurm(DriverContract):
        @pytest.fixture
        def new_driver(self, tmp_path: Path) -> NewDriver:
            config = ClusterConfig("slurm", str(tmp_path), {"partition": "test"})
            return lambda: SlurmDriver.from_config(config)

`new_driver` returns a function that makes a driver of the same backend each time it is called: the
contract starts and closes them, and deletes the runs of a test at its end. It needs a `sh` with
`seq`, `head`, `tr` and `sleep` where tasks run, and pytest-asyncio.

What may be overridden:

- `patience`: seconds until a test gives up; 20.
- `workload`: to add what your backend needs, such as options.
- `outage`: how to cut a driver off from its backend; tests of outages are skipped without it.
- `leftovers`: what the backend still has of a run that was deleted.
- `exposed`: what others see of a run in the backend, in which secrets are looked for.

What a backend lacks it says in `describe()`: without `capacity` nothing waits for room, without the
capability `separate-streams` stderr may come on stdout. Inputs and outputs are tested of
drivers that are `SupportsInputs` and `SupportsOutputs`; that needs `cat`, `mkdir`, `mv`,
`dirname` and `sha256sum` where tasks run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import pytest
import pytest_asyncio

from subgrpc.driver import Driver
from subgrpc.testing.conformance.basics import Basics
from subgrpc.testing.conformance.inputs import Inputs
from subgrpc.testing.conformance.interruptions import Interruptions
from subgrpc.testing.conformance.outages import Outages
from subgrpc.testing.conformance.outcomes import Outcomes
from subgrpc.testing.conformance.output import Output
from subgrpc.testing.conformance.outputs import Outputs
from subgrpc.testing.conformance.secrecy import Secrecy
from subgrpc.testing.conformance.stopping import Stopping
from subgrpc.testing.conformance.submitting import Submitting
from subgrpc.testing.conformance.suite import (
    CONTROL_PLANE,
    ENDED,
    MAIN,
    RUNNING,
    StartDriver,
    Suite,
    all_in,
)
from subgrpc.testing.conformance.watching import Watching

__all__ = [
    "CONTROL_PLANE",
    "ENDED",
    "MAIN",
    "RUNNING",
    "DriverContract",
    "NewDriver",
    "StartDriver",
    "Suite",
    "all_in",
]

NewDriver: TypeAlias = "Callable[[], Driver]"


@pytest.mark.asyncio
class DriverContract(
    Basics,
    Submitting,
    Stopping,
    Outcomes,
    Output,
    Outputs,
    Inputs,
    Watching,
    Outages,
    Secrecy,
    Interruptions,
):
    """Every promise of the driver SPI (`subgrpc.driver.Driver`), a test each."""

    @pytest.fixture
    def new_driver(self) -> NewDriver:
        """Makes drivers of one backend, not started: override it."""
        raise NotImplementedError("a subclass of DriverContract has a fixture `new_driver`")

    @pytest_asyncio.fixture
    async def drivers(self, new_driver: NewDriver) -> AsyncIterator[StartDriver]:
        """Makes and starts drivers of one backend; at the end its runs and they are gone."""
        started: list[Driver] = []

        async def start() -> Driver:
            driver = new_driver()
            await driver.start()
            started.append(driver)
            return driver

        yield start
        if started and self.submitted:
            await self.clean_up(started[-1])
        for driver in started:
            await driver.close()

    @pytest_asyncio.fixture
    async def driver(self, drivers: StartDriver) -> Driver:
        """A driver that was started."""
        return await drivers()
