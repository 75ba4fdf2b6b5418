"""Real drivers on folders of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from subgrpc.driver import ClusterConfig
from subgrpc.driver.local.driver import LocalDriver

MakeDriver = Callable[..., Awaitable[LocalDriver]]


@pytest.fixture
async def make_driver(tmp_path: Path) -> AsyncIterator[MakeDriver]:
    """Starts drivers, all on the same folder, with the options given."""
    started: list[LocalDriver] = []

    async def make(**options: object) -> LocalDriver:
        config = ClusterConfig("local", str(tmp_path / "data"), {"cpu": 8, **options})
        driver = LocalDriver.from_config(config)
        await driver.start()
        started.append(driver)
        return driver

    yield make
    for driver in started:
        await driver.close()


@pytest.fixture
async def driver(make_driver: MakeDriver) -> LocalDriver:
    """A driver with 8 cores, whatever the host has."""
    return await make_driver()
