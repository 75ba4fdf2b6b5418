"""Outputs: what tasks leave in files is taken, read as it was, and kept until it is released."""

from __future__ import annotations

import pytest

from subgrpc.driver import (
    Driver,
    OutputKey,
    Run,
    SupportsOutputs,
    TaskKey,
    TaskOutput,
    Workload,
)
from subgrpc.errors import NotFound, Unavailable
from subgrpc.testing.conformance.suite import MAIN, RUNNING, StartDriver, Suite, refused_as
from subgrpc.testing.programs import Step, keep, keep_large, keep_many, leave, wait
from subgrpc.v1.types_pb2 import TaskState

FILES = {
    "a": b"\x00\xff any \r\n byte",
    "a-b": b"before a/b, by bytes",
    "dir/.hidden": b"h",
    "dir/empty": b"",
    "dir/sub/\u00fcber": b"u",
}
PIECE = 1 << 20


class Outputs(Suite):
    """`SupportsOutputs`: which files, from which tasks, and how they are read."""

    large_file = 3 * PIECE + 17
    """Bytes."""
    many_files = 2100

    async def test_outputs_are_what_a_task_left(self, driver: Driver) -> None:
        """The files in its output's folder, by path, each byte of them; nothing else."""
        steps = [keep(f"model/{path}", data) for path, data in FILES.items()]
        able, run = await self.left(driver, *steps, keep("other", b"not an output's"))
        [taken] = await able.outputs(run, MAIN)
        assert (taken.name, taken.final) == ("model", True), f"outputs() says {taken}"
        assert taken.sequence >= 1, "sequences count from 1"
        files = await self.contents(able, run, taken)
        assert files == FILES, f"read: {files}; the task wrote: {FILES}"
        sizes = (taken.file_count, taken.size_bytes)
        assert sizes == (len(FILES), sum(map(len, FILES.values()))), f"outputs() counts {sizes}"

    async def test_large_output_files(self, driver: Driver) -> None:
        """They come in pieces without holes, from any place."""
        able, run = await self.left(driver, keep_large("model/big", self.large_file))
        [taken] = await able.outputs(run, MAIN)
        for offset in (0, 1, PIECE, self.large_file - 1, self.large_file):
            key, place = OutputKey(MAIN, "model", taken.sequence), offset
            async for piece in able.read_output(run, key, ["big"], offset):
                assert piece.offset == place, f"a piece at {piece.offset} comes after {place}"
                assert 0 < len(piece.data) <= PIECE, f"a piece of {len(piece.data)} bytes came"
                assert set(piece.data) == {ord("x")}, "other bytes were read than were written"
                place += len(piece.data)
            assert place == self.large_file, f"from byte {offset} reading ended at {place}"

    async def test_many_output_files(self, driver: Driver) -> None:
        """They are listed in batches, by path, and read one after the other."""
        able, run = await self.left(driver, keep_many("model", self.many_files))
        [taken] = await able.outputs(run, MAIN)
        files = await self.contents(able, run, taken)
        wanted = {str(number): b"%d" % number for number in range(1, self.many_files + 1)}
        assert files == wanted, f"{len(files)} files came, of {len(wanted)}, or others"

    async def test_patterns_of_outputs(self, driver: Driver) -> None:
        """`*` stays within a folder, `**` does not; files keep their paths."""
        workload = self.does(keep("a/1.pt", b"1"), keep("a/b/2.pt", b"2"), keep("a/3.txt", b"3"))
        out = "$SUBGRPC_OUTPUT_DIR"
        workload.outputs.add(name="near", role="main", paths=[f"{out}/a/*.pt"])
        workload.outputs.add(name="far", role="main", paths=[f"{out}/**/*.pt"])
        able, run = await self.over(driver, workload)
        found = {each.name: each for each in await able.outputs(run, MAIN)}
        assert set(found) == {"near", "far"}, f"outputs() knows {set(found)}"
        for name, wanted in (("near", {"a/1.pt"}), ("far", {"a/1.pt", "a/b/2.pt"})):
            files = set(await self.contents(able, run, found[name]))
            assert files == wanted, f"{name} has {files}, and should have {wanted}"

    async def test_a_missing_output(self, driver: Driver) -> None:
        """A task without a required output has failed; one without an optional one has not."""
        for optional in (False, True):
            workload = self.with_output(optional=optional)
            able, run = await self.over(driver, workload)
            [task] = (await driver.get(run)).tasks
            states = (TaskState.TASK_STATE_FAILED, TaskState.TASK_STATE_SUCCEEDED)
            assert task.state == states[optional], f"optional={optional}: {task}"
            assert optional or task.reason == "OutputMissing", f"the reason is {task.reason!r}"
            assert await able.outputs(run, MAIN) == []

    async def test_outputs_of_a_task_that_failed(self, driver: Driver) -> None:
        """Only those that are always taken; and it failed as it would have without."""
        workload = self.with_output(keep("model/a", b"1"), keep("rest/b", b"2"), leave(7))
        workload.outputs.add(name="rest", role="main", always=True)
        able, run = await self.over(driver, workload)
        [task] = (await driver.get(run)).tasks
        assert (task.reason, task.exit_code) == ("ExitCode", 7), f"it ended as {task}"
        [taken] = await able.outputs(run, MAIN)
        assert taken.name == "rest", f"outputs() knows {taken.name}"
        assert await self.contents(able, run, taken) == {"b": b"2"}

    async def test_which_tasks_make_an_output(self, driver: Driver) -> None:
        """The first of the role, or every one; no other role's."""
        workload = self.does(keep("one/f", b"1"), keep("each/f", b"2"), replicas=2)
        self.add_role(workload, "ps", *workload.groups[0].args)
        workload.outputs.add(name="one", role="main")
        workload.outputs.add(name="each", role="main", every_task=True)
        able, run = await self.over(driver, workload)
        tasks = (MAIN, TaskKey("main", 1), TaskKey("ps", 0))
        found = [[each.name for each in await able.outputs(run, task)] for task in tasks]
        assert found == [["each", "one"], ["each"], []], f"of {tasks}: {found}"

    async def test_outputs_stay_until_they_are_released(self, drivers: StartDriver) -> None:
        """Another driver finds them; each is released for itself, and more than once."""
        driver, other = await drivers(), await drivers()
        workload = self.with_output(keep("model/a", b"1"), keep("rest/b", b"2"))
        workload.outputs.add(name="rest", role="main")
        _, run = await self.over(driver, workload)
        able = self.able(other)
        taken = {each.name: each for each in await able.outputs(run, MAIN)}
        assert set(taken) == {"model", "rest"}, f"another driver knows {set(taken)}"
        for _ in range(2):
            key = OutputKey(MAIN, "model", taken["model"].sequence)
            await able.release_output(run, key)
        left = [each.name for each in await able.outputs(run, MAIN)]
        assert left == ["rest"], f"after a release of model there are {left}"
        assert await self.contents(able, run, taken["rest"]) == {"b": b"2"}

    async def test_checkpoints(self, driver: Driver) -> None:
        """They are taken while the task runs, and stay what they were when its files change."""
        workload = self.with_output(keep("model/a", b"first"), wait(3), keep("model/a", b"second"))
        workload.outputs[0].interval.FromSeconds(1)
        able = self.able(driver)
        run = await self.submit(driver, workload)

        async def taken() -> TaskOutput | None:
            return next(iter(await able.outputs(run, MAIN)), None)

        first = await self.eventually(taken, lambda: "no checkpoint was taken of a running task")
        assert not first.final, "a checkpoint of a running task says that none follows"
        await self.ended(driver, run)
        assert await self.contents(able, run, first) == {"a": b"first"}, "a checkpoint changed"
        *_, last = await able.outputs(run, MAIN)
        assert last.final, "what was taken at the end does not say that none follows"
        assert last.sequence > first.sequence, "the last has no greater number than the first"
        assert await self.contents(able, run, last) == {"a": b"second"}

    async def test_unknown_outputs(self, driver: Driver) -> None:
        """There is none of an unknown run, task, name, number or file: NotFound."""
        able, run = await self.left(driver, keep("model/a", b"1"))
        [taken] = await able.outputs(run, MAIN)
        other = await self.run_of(driver, self.does())
        for unknown, task in ((other, MAIN), (run, TaskKey("main", 1))):
            with refused_as(NotFound, f"outputs() answers for {task} of {unknown}"):
                await able.outputs(unknown, task)
        for name, number in (("model", taken.sequence + 1), ("modex", taken.sequence)):
            with refused_as(NotFound, f"files of {name} number {number} are listed"):
                async for _ in able.output_files(run, OutputKey(MAIN, name, number)):
                    pass
        key = OutputKey(MAIN, "model", taken.sequence)
        for path in ("b", "../a", "/etc/hostname"):
            with refused_as(NotFound, f"the file {path!r} is read"):
                async for _ in able.read_output(run, key, [path]):
                    pass

    async def test_outputs_in_an_outage(self, driver: Driver) -> None:
        """`Unavailable`, never that there is nothing; and afterwards they are there."""
        able, run = await self.left(driver, keep("model/a", b"1"))
        [taken] = await able.outputs(run, MAIN)
        async with self.outage():
            with refused_as(Unavailable, "outputs() answers in an outage"):
                await able.outputs(run, MAIN)
            with refused_as(Unavailable, "files are read in an outage"):
                await self.contents(able, run, taken)
        assert await self.contents(able, run, taken) == {"a": b"1"}

    async def test_outputs_go_with_their_run(self, driver: Driver) -> None:
        """None is there before the task ends, and none after a delete."""
        workload = self.with_output(keep("model/a", b"1"), wait())
        able = self.able(driver)
        run = await self.submit(driver, workload)
        await self.until(driver, run, RUNNING)
        assert await able.outputs(run, MAIN) == [], "an output was taken before its task ended"
        await driver.delete(run)
        with refused_as(NotFound, "a deleted run has outputs"):
            await able.outputs(run, MAIN)

    def able(self, driver: Driver) -> SupportsOutputs:
        """The driver, if it can take outputs."""
        if not isinstance(driver, SupportsOutputs):
            pytest.skip("this driver is no SupportsOutputs")
        return driver

    def with_output(self, *steps: Step, optional: bool = False) -> Workload:
        """A program with the output `model`."""
        workload = self.does(*steps)
        workload.outputs.add(name="model", role="main", optional=optional)
        return workload

    async def left(self, driver: Driver, *steps: Step) -> tuple[SupportsOutputs, Run]:
        """A run of a program with the output `model`, at its end."""
        return await self.over(driver, self.with_output(*steps))

    async def over(self, driver: Driver, workload: Workload) -> tuple[SupportsOutputs, Run]:
        """A run at its end."""
        able = self.able(driver)
        run = await self.submit(driver, workload)
        await self.ended(driver, run)
        return able, run

    async def contents(
        self, able: SupportsOutputs, run: Run, taken: TaskOutput
    ) -> dict[str, bytes]:
        """All that was taken, by path; it has to come in order, in fair batches."""
        key = OutputKey(MAIN, taken.name, taken.sequence)
        found: dict[str, bytes] = {}
        async for batch in able.output_files(run, key):
            assert len(batch) <= 1000, f"a batch of {len(batch)} files came"
            paths = [each.path for each in batch]
            whole = [*found, *paths]
            assert whole == sorted(whole, key=str.encode), "files are not listed by path"
            contents = [b"" for _ in paths]
            async for piece in able.read_output(run, key, paths):
                assert piece.offset == len(contents[piece.file]), f"a hole in {paths[piece.file]}"
                contents[piece.file] += piece.data
            sizes = [each.size_bytes for each in batch]
            assert sizes == list(map(len, contents)), f"sizes are {sizes}, read: {contents}"
            found.update(zip(paths, contents, strict=True))
        return found
