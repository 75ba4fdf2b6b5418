"""The engine in thousands of simulated histories: nothing lost or doubled, and all ends.

Real engines with a real metastore, in virtual time, on a backend and a network that do everything
that they can: see `simulation`. With HYPOTHESIS_PROFILE=long it lives through 5,000 histories.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from subgrpc.metastore import Metastore
from subgrpc.testing.clock import VirtualLoop

from .simulation.servers import open_store
from .simulation.world import World, live

LIKELY = {
    "proceed": 10,
    "wait": 8,
    "create": 6,
    "trouble": 3,
    "cancel": 2,
    "delete": 2,
    "crash": 2,
    "restart": 1,
    "outage": 2,
    "cut": 2,
    "break_watches": 1,
    "vanish": 1,
}
KINDS = [name for name, weight in LIKELY.items() for _ in range(weight)]
STEPS = st.tuples(st.sampled_from(KINDS), st.integers(0, 7), st.integers(0, 7))
LONG = settings().max_examples > 1000


def drop(*_: object) -> dict[str, object]:
    """Logs nothing: the engine tells of each of thousands of outages."""
    raise structlog.DropEvent


class Universe:
    """One loop and one metastore for all histories: each has a cluster of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = VirtualLoop()
        self.store: Metastore = self.loop.run_until_complete(open_store(folder))
        self.numbers = itertools.count()

    def live(self, seed: int, shared: bool, steps: list[tuple[str, int, int]]) -> None:
        """One history."""
        number = next(self.numbers)

        async def run() -> None:
            world = World(number, seed, self.store, self.folder, shared=shared)
            await live(world, steps)
            shutil.rmtree(world.folder, ignore_errors=True)

        self.loop.run_until_complete(run())

    def close(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.loop.close()


@pytest.fixture(scope="module")
def universe() -> Iterator[Universe]:
    memory = Path("/dev/shm")  # what is simulated is no disk
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        made = Universe(Path(folder))
        structlog.configure(processors=[drop])
        yield made
        structlog.reset_defaults()
        made.close()


@pytest.mark.timeout(3600)
@settings(suppress_health_check=list(HealthCheck), derandomize=not LONG)
@given(
    seed=st.integers(0, 2**32 - 1),
    shared=st.booleans(),
    steps=st.lists(STEPS, min_size=4, max_size=40),
)
def test_whatever_happens(
    universe: Universe, seed: int, shared: bool, steps: list[tuple[str, int, int]]
) -> None:
    """Ends stay, attempts never overlap, cancelled is gone, and all come to an end."""
    universe.live(seed, shared, steps)
