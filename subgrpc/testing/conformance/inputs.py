"""Inputs: what the caller gives to a backend is what tasks find, verified, and the same for all."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence

import pytest

from subgrpc.driver import Driver, FilePiece, InputFile, Run, SupportsInputs, Workload
from subgrpc.errors import DataLoss, Unavailable
from subgrpc.testing.conformance.suite import RUNNING, StartDriver, Suite, refused_as
from subgrpc.testing.fake_inputs import GivenFiles
from subgrpc.testing.programs import hash_of, show, spoil, wait

FILES = {
    "a": b"\x00\xff any \r\n byte",
    "dir/.hidden": b"h",
    "dir/empty": b"",
    "dir/sub/\u00fcber": b"u",
    "large": b"0123456789abcdef" * 200_000,
}


class Damaged(GivenFiles):
    """Hands out other bytes than its digests say."""

    async def read(self, files: Sequence[InputFile]) -> AsyncIterator[FilePiece]:
        """Bytes that nobody has written."""
        async for piece in super().read(files):
            piece.data = piece.data[:-1] + b"?"
            yield piece


class Shortened(GivenFiles):
    """Leaves its last file out."""

    async def files(self) -> AsyncIterator[Sequence[InputFile]]:
        """All but one."""
        async for files in super().files():
            yield files[:-1]


class BreaksOff(GivenFiles):
    """Comes to an end in the middle."""

    async def read(self, files: Sequence[InputFile]) -> AsyncIterator[FilePiece]:
        """A piece, and no more."""
        async for piece in super().read(files):
            yield piece
            raise Unavailable("the store went away")


class Inputs(Suite):
    """`SupportsInputs`: put, had, found by tasks."""

    async def test_inputs_are_what_was_put(self, driver: Driver) -> None:
        """Every file, each byte of it."""
        given = GivenFiles(FILES)
        workload = self.does(*(hash_of(f"data/{path}") for path in FILES))
        run = await self.with_input(driver, workload, given)
        found = (await self.output(driver, run)).decode().split("\n")
        for line, (path, content) in zip(found, FILES.items(), strict=False):
            wanted = f"{hashlib.sha256(content).hexdigest()}  -"
            assert line == wanted, f"of {path!r} a task finds the digest {line!r}, not {wanted!r}"

    async def test_several_inputs(self, driver: Driver) -> None:
        """Each in the folder of its name, also if two are the same."""
        able = self.able_inputs(driver)
        workload = self.does(show("one/a"), show("two/a"), show("three/a"))
        for name, files in (("one", {"a": b"1"}), ("two", {"a": b"2"}), ("three", {"a": b"1"})):
            given = GivenFiles(files)
            await able.put_input(given.wanted(name), given)
            workload.inputs.append(given.wanted(name))
        run = await self.submit(driver, workload)
        found = await self.output(driver, run)
        assert found == b"121", f"a task read {found!r}"

    async def test_an_input_that_is_not_there(self, driver: Driver) -> None:
        """The run is not taken, and nothing starts; once the input was put, it is."""
        able = self.able_inputs(driver)
        given = GivenFiles({"a": b"late"})
        workload = self.does(show("data/a"))
        workload.inputs.append(given.wanted("data"))
        assert not await able.has_input(given.wanted("data")), "has_input() knows what never came"
        with refused_as(Unavailable, "submit() takes a run without its input"):
            await self.submit(driver, workload)
        await able.put_input(given.wanted("data"), given)
        assert await able.has_input(given.wanted("data")), "has_input() denies what was put"
        run = await self.submit(driver, workload)
        assert await self.output(driver, run) == b"late", "it does not find what came late"

    async def test_an_input_is_taken_once(self, drivers: StartDriver) -> None:
        """However often it is put, by whom, or at once; also for another driver."""
        driver, other = await drivers(), await drivers()
        able, others = self.able_inputs(driver), self.able_inputs(other)
        given = GivenFiles({"a": b"once"})
        wanted = given.wanted("data")
        await asyncio.gather(*(able.put_input(wanted, given) for _ in range(3)))
        assert await others.has_input(wanted), "another driver does not know what was put"
        before = given.reads
        await able.put_input(wanted, given)
        await others.put_input(wanted, given)
        assert given.reads == before, "what is there is read again"

    async def test_damaged_inputs(self, driver: Driver) -> None:
        """What is not what its digests say is refused, and not there."""
        able = self.able_inputs(driver)
        for kind in (Damaged, Shortened):
            given = kind({"a": b"12", "b": b"34"})
            wanted = given.wanted("data")
            with refused_as(DataLoss, f"put_input() takes files that are {kind.__name__}"):
                await able.put_input(wanted, given)
            assert not await able.has_input(wanted), f"what was {kind.__name__} is there"

    async def test_inputs_that_break_off(self, driver: Driver) -> None:
        """They leave nothing; the next one is taken."""
        able = self.able_inputs(driver)
        files = {"a": b"12", "b": b"34"}
        wanted = GivenFiles(files).wanted("data")
        with refused_as(Unavailable, "put_input() swallows that its content broke off"):
            await able.put_input(wanted, BreaksOff(files))
        assert not await able.has_input(wanted), "half an input is there"
        run = await self.with_input(driver, self.does(show("data/a")), GivenFiles(files))
        assert await self.output(driver, run) == b"12", "after a broken one it is not what it was"

    async def test_a_task_that_spoils_its_input(self, driver: Driver) -> None:
        """It may try: the next run finds what was put."""
        given = GivenFiles({"a": b"pure"})
        first = await self.with_input(driver, self.does(spoil("data/a")), given)
        await self.ended(driver, first)
        run = await self.with_input(driver, self.does(show("data/a")), given)
        found = await self.output(driver, run)
        assert found == b"pure", f"after another run it is {found!r}"

    async def test_inputs_stay_while_a_run_has_them(self, driver: Driver) -> None:
        """Whatever comes and goes meanwhile."""
        given, other = GivenFiles({"a": b"mine"}), GivenFiles({"a": b"other"})
        workload = self.does(wait(1), show("data/a"))
        run = await self.with_input(driver, workload, given)
        await self.until(driver, run, RUNNING)
        another = await self.with_input(driver, self.does(show("data/a")), other)
        await self.ended(driver, another)
        await driver.delete(another)
        assert await self.output(driver, run) == b"mine", "its input went while it ran"

    async def test_inputs_in_an_outage(self, driver: Driver) -> None:
        """`Unavailable`, never that there is none."""
        able = self.able_inputs(driver)
        given = GivenFiles({"a": b"1"})
        await able.put_input(given.wanted("data"), given)
        async with self.outage():
            with refused_as(Unavailable, "has_input() answers in an outage"):
                await able.has_input(given.wanted("data"))
        assert await able.has_input(given.wanted("data")), "an outage lost an input"

    def able_inputs(self, driver: Driver) -> SupportsInputs:
        """The driver, if it can give tasks inputs."""
        if not isinstance(driver, SupportsInputs):
            pytest.skip("this driver is no SupportsInputs")
        return driver

    async def with_input(self, driver: Driver, workload: Workload, given: GivenFiles) -> Run:
        """Submits a workload with the input `data`, as the engine does."""
        able = self.able_inputs(driver)
        wanted = given.wanted("data")
        workload.inputs.append(wanted)

        async def submitted() -> Run | None:
            if not await able.has_input(wanted):
                await able.put_input(wanted, given)
            try:
                return await self.submit(driver, workload)
            except Unavailable as error:
                if error.reason != "INPUT_MISSING":
                    raise
                return None

        return await self.eventually(submitted, lambda: "submit() never finds the input")
