"""What a task wrote is what is read: byte for byte, from any place, while it runs and after."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from subgrpc.driver import Driver, Run, TaskKey
from subgrpc.testing.conformance.suite import CHUNK, MAIN, RUNNING, STDERR, STDOUT, Suite
from subgrpc.testing.programs import arguments, fill, leave, lines, wait, write
from subgrpc.v1.types_pb2 import TaskState

EVERY_BYTE = bytes(range(256))


class Output(Suite):
    """`logs`: both streams, offsets, following."""

    huge_line = 3_000_000
    """Bytes."""
    many_lines = 1_000_000

    async def test_output_is_exact(self, driver: Driver) -> None:
        """Any byte comes as it is: NUL, invalid UTF-8, carriage returns; no newline is added."""
        run = await self.submit(driver, self.does(write(EVERY_BYTE), write(b"\xff\xfe\r\n\x00end")))
        found = await self.output(driver, run)
        wanted = EVERY_BYTE + b"\xff\xfe\r\n\x00end"
        assert found == wanted, _difference(wanted, found)

    async def test_streams_are_apart(self, driver: Driver) -> None:
        """What goes to stderr does not come on stdout, and the other way round."""
        if "separate-streams" not in (await driver.describe()).capabilities:
            pytest.skip("describe() has no capability `separate-streams`")
        steps = (write(b"out1 "), write(b"err1 ", 2), write(b"out2"), write(b"err2", 2))
        run = await self.submit(driver, self.does(*steps))
        out, err = await self.output(driver, run, STDOUT), await self.output(driver, run, STDERR)
        assert out == b"out1 out2", f"stdout is {out!r}"
        assert err == b"err1 err2", f"stderr is {err!r}"

    async def test_no_output(self, driver: Driver) -> None:
        """A task that writes nothing has no output, and a follower of it comes to its end."""
        run = await self.submit(driver, self.does(leave(0)))
        for stream in (STDOUT, STDERR):
            found = await self.output(driver, run, stream)
            assert found == b"", f"a task that wrote nothing has the output {found!r}"

    async def test_a_huge_line(self, driver: Driver) -> None:
        """A line of megabytes, without a newline at its end, comes whole."""
        run = await self.submit(driver, self.does(fill(self.huge_line), write(b"\nlast")))
        found = await self.output(driver, run)
        wanted = b"x" * self.huge_line + b"\nlast"
        assert found == wanted, _difference(wanted, found)

    async def test_a_million_lines(self, driver: Driver) -> None:
        """Many lines come in order, all of them, and can be resumed at every chunk."""
        run = await self.submit(driver, self.does(lines(self.many_lines)))
        pieces = await self.chunks(driver, run)
        found = b"".join(piece.data for piece in pieces)
        wanted = lines(self.many_lines).written()
        assert found == wanted, _difference(wanted, found)
        for piece in pieces[:: max(1, len(pieces) // 8)]:
            offset = piece.offset + len(piece.data)
            rest = await self.output(driver, run, offset=offset)
            assert rest == wanted[offset:], _difference(wanted[offset:], rest, offset)

    async def test_resume_at_every_place(self, driver: Driver) -> None:
        """From any offset comes exactly the rest: around each chunk's ends, and within it."""
        size = 2 * CHUNK + 1000
        run = await self.submit(driver, self.does(lines(size // 7), fill(size // 2)))
        await self.ended(driver, run)
        pieces = await self.chunks(driver, run)
        whole = b"".join(piece.data for piece in pieces)
        places = {0, 1, len(whole) - 1, len(whole), CHUNK - 1, CHUNK, CHUNK + 1}
        for piece in pieces[1:]:
            places |= {piece.offset - 1, piece.offset, piece.offset + 1}
            places.add(piece.offset + len(piece.data) // 2)
        for offset in sorted(places):
            for follow in (True, False):
                rest = await self.output(driver, run, offset=offset, follow=follow)
                wanted = whole[offset:]
                assert rest == wanted, _difference(wanted, rest, offset)

    async def test_output_of_a_running_task(self, driver: Driver) -> None:
        """What a task writes is there while it runs; without `follow` nobody waits for more."""
        run = await self.submit(driver, self.does(write(b"now\n"), wait()))
        assert await self.first_chunk(driver, run) == b"now\n"
        state = (await driver.get(run)).tasks[0].state
        assert state == TaskState.TASK_STATE_RUNNING, "output is there only once the task is over"
        found = await self.output(driver, run, follow=False)
        assert found == b"now\n", f"without follow it is {found!r}"

    async def test_follow_to_the_end(self, driver: Driver) -> None:
        """Each follower, wherever it begins, gets all that is still to come, and then ends."""
        steps = [step for n in range(5) for step in (write(b"%d " % n), wait(0.1))]
        run = await self.submit(driver, self.does(*steps))
        await self.first_chunk(driver, run)
        wanted = b"0 1 2 3 4 "
        offsets = (0, 1, 2)
        found = await asyncio.gather(
            *(self.output(driver, run, offset=offset) for offset in offsets)
        )
        for offset, rest in zip(offsets, found, strict=True):
            assert rest == wanted[offset:], _difference(wanted[offset:], rest, offset)

    async def test_follow_before_the_start(self, driver: Driver) -> None:
        """Who follows a task that has not started yet gets all that it will write."""
        run = await self.submit(
            driver, self.does(wait(0.1), write(b"first"), wait(0.1), write(b" last"))
        )
        found = await self.output(driver, run)
        assert found == b"first last", _difference(b"first last", found)

    async def test_output_of_each_task(self, driver: Driver) -> None:
        """Each task has its own output."""
        workload = self.does(write(b"main"), replicas=1)
        self.add_role(workload, "worker", *self.does(write(b"worker")).groups[0].args)
        run = await self.submit(driver, workload)
        await self.ended(driver, run)
        for key in (MAIN, TaskKey("worker", 0)):
            found = await self.output(driver, run, task=key)
            assert found == key.role.encode(), f"the output of {key} is {found!r}"

    async def test_output_stays_until_delete(self, driver: Driver) -> None:
        """The output of a task that was stopped can be read like any other's."""
        run = await self.submit(driver, self.does(write(b"kept"), wait()))
        await self.first_chunk(driver, run)
        await self.stop_now(driver, run)
        found = await self.output(driver, run)
        assert found == b"kept", _difference(b"kept", found)

    async def test_arguments_are_exact(self, driver: Driver) -> None:
        """No shell of the backend reads the argument vector."""
        args = ["a b", "", "$HOME", "*", "'", '"', "new\nline", "ünï", "\\n", "-n", "$(id)"]
        run = await self.submit(driver, self.does(arguments(), arguments=args))
        found = await self.output(driver, run)
        wanted = b"".join(arg.encode() + b"\0" for arg in args)
        assert found == wanted, f"the arguments arrived as {found.split(bytes(1))[:-1]}"

    async def stop_now(self, driver: Driver, run: Run) -> None:
        """Stops a run and waits until it has ended."""
        await self.until(driver, run, RUNNING)
        await driver.stop(run, grace=timedelta(seconds=5))
        await self.ended(driver, run)


def _difference(wanted: bytes, found: bytes, offset: int = 0) -> str:
    """Where two outputs begin to differ."""
    pairs = enumerate(zip(wanted, found, strict=False))
    place = next((n for n, (a, b) in pairs if a != b), min(len(wanted), len(found)))
    return (
        f"logs() from byte {offset} yields {len(found)} bytes of {len(wanted)}; they differ at "
        f"byte {offset + place}: {found[place : place + 20]!r} instead of "
        f"{wanted[place : place + 20]!r}"
    )
