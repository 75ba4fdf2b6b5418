"""The local driver passes the suite that every driver passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from subgrpc.agent import status
from subgrpc.driver import ClusterConfig, Driver, Run
from subgrpc.driver.local.driver import LocalDriver
from subgrpc.testing.contract import DriverContract, NewDriver
from tests.unit.local_driver.processes import marked

OUTPUT = (status.STDOUT, status.STDERR)


class TestLocalDriver(DriverContract):
    """Real processes of this host."""

    @pytest.fixture
    def new_driver(self, tmp_path: Path) -> NewDriver:
        """Drivers with 8 cores on one folder, whatever the host has."""
        config = ClusterConfig("local", str(tmp_path / "data"), {"cpu": 8})
        return lambda: LocalDriver.from_config(config)

    async def leftovers(self, driver: Driver, run: Run) -> list[str]:
        """Folders and processes."""
        assert isinstance(driver, LocalDriver)
        folder = driver.folder_of(run)
        found = [str(folder)] if folder.exists() else []
        return found + [f"process {pid}" for pid in marked(run.experiment_uid)]

    async def exposed(self, driver: Driver, run: Run) -> bytes:
        """What stands in the run's folder, and in `ps` for every user of the host."""
        assert isinstance(driver, LocalDriver)
        files = [path for path in driver.folder_of(run).rglob("*") if path.is_file()]
        texts = [path.read_bytes() for path in files if path.name not in OUTPUT]
        processes = [Path(f"/proc/{pid}/cmdline") for pid in marked(run.experiment_uid)]
        return b"\n".join([*texts, *(path.read_bytes() for path in processes)])
