"""A fake backend that does what the contract's programs say keeps every promise of it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from subgrpc.driver import ClusterConfig, Driver, Run
from subgrpc.testing.clock import VirtualPolicy
from subgrpc.testing.contract import DriverContract, NewDriver
from subgrpc.testing.simulated import SimulatedBackend

pytest_plugins = ("pytester",)
DRIVERS = Path(__file__).resolve().parents[3] / "docs" / "drivers.md"
CONFIG = ClusterConfig("fake", "/nowhere", {})


# The hook that is to take its place makes loops for all tests of a folder.
@pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")
class FakeContract(DriverContract):
    """The contract on a simulated backend, in virtual time."""

    backend_class: type[SimulatedBackend] = SimulatedBackend

    @pytest.fixture
    def event_loop_policy(self) -> VirtualPolicy:
        """No test waits."""
        return VirtualPolicy()

    @pytest.fixture
    def backend(self) -> SimulatedBackend:
        """The backend of one test."""
        return self.backend_class()

    @pytest.fixture
    def new_driver(self, backend: SimulatedBackend) -> NewDriver:
        self.backend = backend
        kind = backend.driver_class()
        return lambda: kind.from_config(CONFIG)

    @contextlib.asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        self.backend.outage = "the network is down"
        try:
            yield
        finally:
            self.backend.outage = ""

    async def leftovers(self, driver: Driver, run: Run) -> list[str]:
        return self.backend.leftovers(run)

    async def exposed(self, driver: Driver, run: Run) -> bytes:
        return self.backend.exposed(run)


TESTS = sorted(name for name in dir(FakeContract) if name.startswith("test_"))


class TestSimulatedBackend(FakeContract):
    """It passes."""


def test_the_documentation_s_example(pytester: pytest.Pytester) -> None:
    """docs/drivers.md shows a whole test module: pytest finds the contract in it, and it passes."""
    [block] = re.findall(r"^```python\n(# test_.*?)^```", DRIVERS.read_text(), re.M | re.S)
    pytester.makepyfile(test_example=block)
    wanted = ["describes_itself", "exit_codes", "submits_at_once_start_once"]
    outcome = pytester.runpytest("-k", " or ".join(wanted), "-p", "no:cacheprovider")
    outcome.assert_outcomes(passed=len(wanted), deselected=len(TESTS) - len(wanted))
