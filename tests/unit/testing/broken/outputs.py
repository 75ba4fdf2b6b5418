"""What is wrong with outputs."""

# The signatures are those of the methods that are overridden.
# ruff: noqa: ANN001, ANN201

from __future__ import annotations

from subgrpc.driver import FilePiece, OutputFile, OutputKey, TaskKey, TaskOutput
from subgrpc.testing.simulated import Process
from subgrpc.v1.types_pb2 import TaskState, TaskStatus
from tests.unit.testing.broken import Broken, found_by


@found_by("outputs_are_what_a_task_left")
class LeavesOutEmptyFiles(Broken):
    def take_output(self, process, output, *, final):
        process.files = {path: data for path, data in process.files.items() if data}
        return super().take_output(process, output, final=final)


@found_by("outputs_are_what_a_task_left")
class LeavesOutHiddenFiles(Broken):
    def take_output(self, process, output, *, final):
        process.files = {p: data for p, data in process.files.items() if "/." not in p}
        return super().take_output(process, output, final=final)


@found_by("outputs_are_what_a_task_left", "many_output_files", "patterns_of_outputs")
class ListsInAnyOrder(Broken):
    class Mixin:
        async def output_files(self, run, key):
            async for batch in super().output_files(run, key):
                yield batch[::-1]


@found_by("many_output_files")
class ListsAllAtOnce(Broken):
    class Mixin:
        async def output_files(self, run, key):
            batches = [batch async for batch in super().output_files(run, key)]
            yield [file for batch in batches for file in batch]


@found_by("many_output_files")
class ListsTheFirstBatch(Broken):
    class Mixin:
        async def output_files(self, run, key):
            async for batch in super().output_files(run, key):
                yield batch
                return


@found_by("large_output_files")
class IgnoresOffsets(Broken):
    class Mixin:
        async def read_output(self, run, key, paths, offset=0):
            async for piece in super().read_output(run, key, paths):
                yield piece


@found_by("large_output_files")
class ReadsOnePieceOfAFile(Broken):
    class Mixin:
        async def read_output(self, run, key, paths, offset=0):
            seen = set()
            async for piece in super().read_output(run, key, paths, offset):
                if piece.file not in seen:
                    seen.add(piece.file)
                    yield piece


@found_by("large_output_files")
class ReadsHugePieces(Broken):
    class Mixin:
        async def read_output(self, run, key, paths, offset=0):
            whole: dict[int, FilePiece] = {}
            async for piece in super().read_output(run, key, paths, offset):
                known = whole.setdefault(piece.file, FilePiece(file=piece.file))
                known.offset = known.offset if known.data else piece.offset
                known.data += piece.data
            for piece in whole.values():
                yield piece


@found_by("many_output_files", "outputs_are_what_a_task_left", "patterns_of_outputs")
class ReadsTheFirstFileOnly(Broken):
    class Mixin:
        async def read_output(self, run, key, paths, offset=0):
            async for piece in super().read_output(run, key, paths[:1], offset):
                yield piece


@found_by("a_missing_output")
class DoesNotMindWhatIsMissing(Broken):
    def take_output(self, process, output, *, final):
        return super().take_output(process, output, final=final) or 1


@found_by("a_missing_output")
class ExpectsWhatIsOptional(Broken):
    def take_output(self, process, output, *, final):
        output.optional = False
        return super().take_output(process, output, final=final)


@found_by("outputs_of_a_task_that_failed")
class TakesEverythingAlways(Broken):
    def ended(self, process: Process, status: TaskStatus) -> None:
        if status.state != TaskState.TASK_STATE_SUCCEEDED:
            for output in process._outputs():
                if not output.always:
                    self.take_output(process, output, final=True)
        super().ended(process, status)


@found_by("outputs_of_a_task_that_failed")
class TakesOfSuccessOnly(Broken):
    class Mixin:
        async def outputs(self, run, task):
            found = await super().outputs(run, task)
            status = (await self.get(run)).tasks[0]
            return found if status.state != TaskState.TASK_STATE_FAILED else []


@found_by("which_tasks_make_an_output")
class TakesOfTheFirstTaskOnly(Broken):
    def take_output(self, process, output, *, final):
        if process.task.index:
            return 1
        return super().take_output(process, output, final=final)


@found_by("which_tasks_make_an_output")
class ConfusesTasks(Broken):
    class Mixin:
        async def outputs(self, run, task):
            await super().outputs(run, task)
            return await super().outputs(run, TaskKey("main", 0))


@found_by("outputs_stay_until_they_are_released")
class ReleasesEverything(Broken):
    class Mixin:
        async def release_output(self, run, key):
            (await self.taken(run, key.task)).clear()


@found_by("outputs_stay_until_they_are_released")
class ReleasesOnce(Broken):
    class Mixin:
        async def release_output(self, run, key):
            await self._one(run, key)
            await super().release_output(run, key)


@found_by(
    "outputs_are_what_a_task_left", "large_output_files", "many_output_files",
    "patterns_of_outputs", "outputs_of_a_task_that_failed", "checkpoints",
    "outputs_stay_until_they_are_released", "outputs_in_an_outage",
)  # fmt: skip
class ReleasesWhatWasSeen(Broken):
    class Mixin:
        async def outputs(self, run, task):
            found = await super().outputs(run, task)
            for each in found:
                await self.release_output(run, OutputKey(task, each.name, each.sequence))
            return found


@found_by("checkpoints")
class TakesNoCheckpoints(Broken):
    def take_output(self, process, output, *, final):
        return super().take_output(process, output, final=final) if final else 0


@found_by("checkpoints")
class TakesNothingAfterCheckpoints(Broken):
    def take_output(self, process, output, *, final):
        if final and output.name in process.taken:
            return 1
        return super().take_output(process, output, final=final)


@found_by("checkpoints")
class SharesFilesWithTheTask(Broken):
    def take_output(self, process, output, *, final):
        count = super().take_output(process, output, final=final)
        taken = self.runs[process.key].taken
        *_, last = [each for key, each in taken.items() if key.output == output.name] or [None]
        for each in taken.values():
            if last is not None and each.output.name == output.name:
                each.files.update(last.files)
        return count


@found_by("unknown_outputs")
class MakesUpFiles(Broken):
    class Mixin:
        async def output_files(self, run, key):
            if key in await self.taken(run, key.task):
                async for batch in super().output_files(run, key):
                    yield batch
            else:
                yield [OutputFile(path="a")]


@found_by("unknown_outputs")
class KnowsEveryTask(Broken):
    class Mixin:
        async def outputs(self, run, task):
            await self.backend.enter()
            found = self._known(run).taken
            return [found[key].output for key in sorted(found) if key.task == task]


@found_by("unknown_outputs")
class ReadsAnyFile(Broken):
    class Mixin:
        async def read_output(self, run, key, paths, offset=0):
            if paths != ["/etc/hostname"]:
                async for piece in super().read_output(run, key, paths, offset):
                    yield piece


@found_by("outputs_in_an_outage")
class HasNothingInAnOutage(Broken):
    class Mixin:
        async def outputs(self, run, task):
            return [] if self.backend.outage else await super().outputs(run, task)


@found_by("outputs_in_an_outage")
class ReadsNothingInAnOutage(Broken):
    class Mixin:
        async def read_output(self, run, key, paths, offset=0):
            if not self.backend.outage:
                async for piece in super().read_output(run, key, paths, offset):
                    yield piece

        async def output_files(self, run, key):
            if not self.backend.outage:
                async for batch in super().output_files(run, key):
                    yield batch


@found_by("outputs_go_with_their_run")
class KeepsOutputsOfDeletedRuns(Broken):
    class Mixin:
        async def outputs(self, run, task):
            known = self.backend.runs.get((run.experiment_uid, run.attempt))
            deleted = ("delete", (run.experiment_uid, run.attempt)) in self.backend.calls
            return [TaskOutput()] if known is None and deleted else await super().outputs(run, task)


@found_by("patterns_of_outputs")
class TakesForNear(Broken):
    def take_output(self, process, output, *, final):
        for number, pattern in enumerate(output.paths):
            output.paths[number] = pattern.replace("/*.", "/**/*.").replace("**/**/", "**/")
        return super().take_output(process, output, final=final)
