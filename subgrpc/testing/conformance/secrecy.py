"""What a task is given in its environment, and who else sees it: of secrets, nobody."""

from __future__ import annotations

from subgrpc.driver import Driver, TaskKey, Workload
from subgrpc.testing.conformance.suite import Suite
from subgrpc.testing.programs import Step, variable, wait, write

SECRET = b"\xfftop-s3cret\xfe"
KEY = "teams/default/secrets/token"


class Secrecy(Suite):
    """Variables and secrets."""

    def secretive(self, *steps: Step) -> Workload:
        """A workload with a secret."""
        workload = self.does(*steps)
        workload.groups[0].secret_env["TOKEN"] = KEY
        return workload

    async def test_environment(self, driver: Driver) -> None:
        """A task gets its variables, exactly."""
        values = {
            "PLAIN": "a=b",
            "SPACES": " x  y ",
            "NEWLINE": "1\n2",
            "EMPTY": "",
            "UNI": "ü$HOME",
        }
        workload = self.does(*map(variable, values))
        workload.groups[0].env.update(values)
        run = await self.submit(driver, workload)
        found = (await self.output(driver, run)).split(b"\0")[:-1]
        wanted = [value.encode() for value in values.values()]
        assert found == wanted, f"the variables {list(values)} are {found}"

    async def test_a_task_gets_its_secrets(self, driver: Driver) -> None:
        """The value is the bytes that came with submit."""
        run = await self.submit(driver, self.secretive(variable("TOKEN")), {KEY: SECRET})
        found = await self.output(driver, run)
        assert found == SECRET + b"\0", f"the secret arrived as {found!r}"

    async def test_a_secret_is_its_task_s_only(self, driver: Driver) -> None:
        """Other roles of the same run do not have it."""
        workload = self.secretive(wait(0))
        self.add_role(workload, "worker", *self.does(variable("TOKEN")).groups[0].args)
        run = await self.submit(driver, workload, {KEY: SECRET})
        tasks = await self.ended(driver, run)
        assert len(tasks) == 2, "there are two roles, of one task each"
        found = await self.output(driver, run, task=TaskKey("worker", 0))
        assert found == b"\0", f"a role that asks for no secret has {found!r}"

    async def test_secrets_are_seen_by_nobody(self, driver: Driver) -> None:
        """No handle, observation, description or object of the backend holds a secret's value."""
        workload = self.secretive(write(b"ready"), wait())
        run = await self.submit(driver, workload, {KEY: SECRET})
        async with self.watching(driver) as seen:
            await self.first_chunk(driver, run)
            places = {
                "the handle": run.handle,
                "the workload": workload.SerializeToString(),
                "describe()": (await driver.describe()).SerializeToString(),
                "get()": (await driver.get(run)).SerializeToString(),
                "watch()": repr(seen).encode(),
                "an object of the backend": await self.exposed(driver, run),
            }
        await driver.submit(workload, run, {KEY: SECRET})
        places["an object of the backend after an adoption"] = await self.exposed(driver, run)
        core = SECRET.strip(b"\xff\xfe")
        for place, text in places.items():
            assert core not in text, f"{place} holds the secret"
