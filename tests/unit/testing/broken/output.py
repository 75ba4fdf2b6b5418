"""What is wrong with output."""

# The signatures are those of the methods that are overridden.
# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import asyncio

from subgrpc.driver import LogChunk, TaskKey
from subgrpc.testing.simulated import Process
from subgrpc.v1.types_pb2 import LogStream, TaskState, TaskStatus
from tests.unit.testing.broken import Broken, found_by, key


class ChangesLogs(Broken):
    """Base of what is wrong with output."""

    def change(self, data: bytes) -> bytes:
        return data

    def write(self, key, role, index, data, stream=LogStream.LOG_STREAM_STDOUT):
        super().write(key, role, index, self.change(data), stream)


@found_by("output_is_exact", "a_task_gets_its_secrets")
class DecodesOutput(ChangesLogs):
    def change(self, data: bytes) -> bytes:
        return data.decode(errors="replace").encode()


@found_by("output_is_exact")
class TranslatesNewlines(ChangesLogs):
    def change(self, data: bytes) -> bytes:
        return data.replace(b"\r\n", b"\n")


@found_by("a_huge_line")
class CutsLongLines(ChangesLogs):
    def change(self, data: bytes) -> bytes:
        return data[:100_000] if data.count(b"x") == len(data) else data


@found_by("a_million_lines")
class KeepsSoMuch(ChangesLogs):
    def change(self, data: bytes) -> bytes:
        return data[:500_000] if data.count(b"x") < len(data) else data


@found_by("streams_are_apart")
class MixesStreams(Broken):
    def write(self, key, role, index, data, stream=LogStream.LOG_STREAM_STDOUT):
        super().write(key, role, index, data, LogStream.LOG_STREAM_STDOUT)


class ReadsLogs(Broken):
    """Base of what is wrong with reading: `read` gets the reader of the real driver."""

    class Mixin:
        async def logs(self, run, task, stream, offset, follow):
            async for piece in self.read(super().logs, run, task, stream, offset, follow):
                yield piece


@found_by(
    "resume_at_every_place", "a_million_lines", "follow_to_the_end", "an_end_that_nobody_saw",
    "output_survives_an_outage",
)  # fmt: skip
class ResumesOffByOne(ReadsLogs):
    class Mixin(ReadsLogs.Mixin):
        async def read(self, logs, run, task, stream, offset, follow):
            async for piece in logs(run, task, stream, offset + (offset > 1), follow):
                yield LogChunk(offset=piece.offset - (offset > 1), data=piece.data)


@found_by("resume_at_every_place", "a_million_lines", "a_huge_line")
class LosesAByteOfEachChunk(ReadsLogs):
    class Mixin(ReadsLogs.Mixin):
        async def read(self, logs, run, task, stream, offset, follow):
            lost = 0
            async for piece in logs(run, task, stream, offset, follow):
                full = len(piece.data) == 64 * 1024
                yield LogChunk(offset=piece.offset - lost, data=piece.data[: -1 if full else None])
                lost += full


@found_by("a_huge_line", "a_million_lines", "resume_at_every_place")
class SendsBigChunks(ReadsLogs):
    class Mixin(ReadsLogs.Mixin):
        async def read(self, logs, run, task, stream, offset, follow):
            pending = LogChunk(offset=offset)
            async for piece in logs(run, task, stream, offset, follow):
                pending.data += piece.data
                if len(piece.data) < 64 * 1024:
                    yield pending
                    pending = LogChunk(offset=pending.offset + len(pending.data))
            if pending.data:
                yield pending


@found_by("follow_to_the_end", "follow_before_the_start", "readers_that_are_cancelled")
class FollowersLeaveEarly(ReadsLogs):
    class Mixin(ReadsLogs.Mixin):
        async def read(self, logs, run, task, stream, offset, follow):
            known = self.backend.runs.get(key(run))
            if known is not None and task in known.tasks and follow and offset == 0:
                while (task, stream) not in known.output and known.tasks[task].state < 4:
                    await self.backend.enter()
                    await asyncio.sleep(0.01)
            async for piece in logs(run, task, stream, offset, False):
                yield piece


@found_by(
    "output_of_a_running_task", "submit_is_idempotent", "submits_at_once_start_once",
    "a_submit_that_is_cancelled",
)  # fmt: skip
class WaitsWithoutFollow(ReadsLogs):
    class Mixin(ReadsLogs.Mixin):
        async def read(self, logs, run, task, stream, offset, follow):
            async for piece in logs(run, task, stream, offset, True):
                yield piece


@found_by("no_output")
class SaysThatThereIsNone(ReadsLogs):
    class Mixin(ReadsLogs.Mixin):
        async def read(self, logs, run, task, stream, offset, follow):
            empty = offset == 0
            async for piece in logs(run, task, stream, offset, follow):
                yield piece
                empty = False
            if empty:
                yield LogChunk(data=b"(no output)")


@found_by(
    "output_stays_until_delete", "stop_leaves_time_for_last_words", "another_driver_adopts",
    "calls_are_repeated_after_an_outage",
)  # fmt: skip
class DropsOutputOfWhatWasStopped(Broken):
    def ended(self, process: Process, status: TaskStatus) -> None:
        if status.state == TaskState.TASK_STATE_CANCELLED:
            self.runs[process.key].output.clear()
        super().ended(process, status)


@found_by("output_of_each_task", "roles_and_replicas", "a_secret_is_its_task_s_only")
class HasOneLog(ReadsLogs):
    class Mixin(ReadsLogs.Mixin):
        async def read(self, logs, run, task, stream, offset, follow):
            known = self.backend.runs.get(key(run))
            first = TaskKey("main", 0) if known and task in known.tasks else task
            async for piece in logs(run, first, stream, offset, follow):
                yield piece


@found_by("arguments_are_exact")
class JoinsArguments(Broken):
    def argument(self, text: str) -> str:
        return " ".join(text.split())
