"""What a driver says of itself, of workloads that it cannot run, and of runs that there are not."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from subgrpc.driver import Driver, Run, TaskKey
from subgrpc.errors import InvalidSpec, NotFound
from subgrpc.names import new_uid
from subgrpc.quantities import format_cpu, parse_cpu
from subgrpc.testing.conformance.suite import (
    CONTROL_PLANE,
    MAIN,
    RUNNING,
    STDOUT,
    Suite,
    refused_as,
)


class Basics(Suite):
    """`describe`, `validate`, `prepare`, and unknown keys."""

    async def test_describes_itself(self, driver: Driver) -> None:
        """A driver names itself, its platform, and what a task gets that asks for nothing."""
        description = await driver.describe()
        assert description.driver == driver.name, "describe() has another name than the class"
        assert description.platform, "describe() names no platform, such as linux/x86_64"
        assert description.default_request.cpu, "describe() has no default for cpu"
        assert description.default_request.memory, "describe() has no default for memory"

    async def test_validate_takes_what_runs(self, driver: Driver) -> None:
        """A workload that the driver can run is not refused."""
        await driver.validate(self.workload(replicas=2))

    async def test_validate_names_the_field(self, driver: Driver) -> None:
        """What can never run is refused with the path of the field that is wrong."""
        nothing = self.workload()
        del nothing.groups[:]
        idle = self.workload()
        idle.groups[0].replicas = 0
        without_command = self.workload()
        del without_command.groups[0].args[:]
        for workload, path in (
            (nothing, "groups"),
            (idle, "groups[0].replicas"),
            (without_command, "groups[0].args"),
        ):
            fields = [each.field for each in await self.refused(driver, workload)]
            assert path in fields, f"{path} is wrong, and InvalidSpec names {fields}"

    async def test_validate_names_every_field(self, driver: Driver) -> None:
        """All that is wrong is told at once."""
        workload = self.workload()
        self.add_role(workload, "worker")
        for group in workload.groups:
            group.replicas = 0
        fields = {each.field for each in await self.refused(driver, workload)}
        missing = {"groups[0].replicas", "groups[1].replicas"} - fields
        assert not missing, f"InvalidSpec does not name {sorted(missing)}"

    async def test_validate_knows_its_options(self, driver: Driver) -> None:
        """An option that the schema of `describe` does not have is refused by its path."""
        schema = (await driver.describe()).options_schema
        if schema.fields["additionalProperties"].bool_value is not False or not schema.fields:
            pytest.skip("the schema of this driver's options allows any")
        workload = self.workload()
        workload.options["no-such-option"] = 1
        fields = [each.field for each in await self.refused(driver, workload)]
        assert "options.no-such-option" in fields, f"InvalidSpec names {fields}"

    async def test_what_has_no_room_is_refused(self, driver: Driver) -> None:
        """What is larger than the whole backend is refused by `submit` too, and leaves nothing."""
        workload = self.workload()
        capacity = (await driver.describe()).capacity.cpu
        if not capacity:
            pytest.skip("describe() names no capacity in cpu: this backend may grow")
        workload.groups[0].resources.cpu = format_cpu(parse_cpu(capacity) + 1000)
        fields = [each.field for each in await self.refused(driver, workload)]
        assert "groups[0].resources.cpu" in fields, f"InvalidSpec names {fields}"
        with refused_as(InvalidSpec, "submit() takes what validate() refuses"):
            await self.submit(driver, workload)
        await self.not_found(driver, self.submitted[-1])

    async def test_prepare_is_pure(self, driver: Driver) -> None:
        """A handle is the same each time, made without secrets, and makes no run."""
        workload = self.workload()
        run = await self.run_of(driver, workload)
        again = await driver.prepare(workload)
        assert run.handle == again, "prepare() gave another handle the second time"
        await self.not_found(driver, run)
        left = await self.leftovers(driver, run)
        assert not left, f"prepare() made {left}"

    async def test_unknown_runs(self, driver: Driver) -> None:
        """Of an unknown run `get` and `logs` say NotFound; to stop or delete it does nothing."""
        run = Run(control_plane_id=CONTROL_PLANE, experiment_uid=new_uid(), attempt=1)
        await self.not_found(driver, run)
        await self.no_logs(driver, run, MAIN)
        await driver.stop(run, grace=timedelta(0))
        await driver.delete(run)
        await self.not_found(driver, run)

    async def test_unknown_tasks(self, driver: Driver) -> None:
        """`logs` of a task that the run has not is NotFound; to stop it stops no other."""
        run = await self.submit(driver, self.workload())
        await self.until(driver, run, RUNNING)
        await self.no_logs(driver, run, TaskKey("main", 1))
        await self.no_logs(driver, run, TaskKey("nobody", 0))
        await driver.stop(run, [TaskKey("main", 1)], grace=timedelta(0))
        await asyncio.sleep(0.1)
        assert RUNNING(await driver.get(run)), "stop() of an unknown task stopped another one"

    async def no_logs(self, driver: Driver, run: Run, task: TaskKey) -> None:
        """Asserts that there is no output of a task."""
        try:
            found = [piece async for piece in driver.logs(run, task, STDOUT, 0, follow=False)]
        except NotFound:
            return
        raise AssertionError(f"logs() of a task that there is not yields {found}, not NotFound")
