"""What is wrong with what a driver says of itself, and with submit."""

# The signatures are those of the methods that are overridden.
# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import asyncio
import itertools

from subgrpc.driver import Observation
from subgrpc.errors import FailedPrecondition, FieldViolation, InvalidSpec, NotFound
from subgrpc.testing.simulated import Process
from subgrpc.v1.types_pb2 import TaskStatus
from tests.unit.testing.broken import Broken, found_by, key
from tests.unit.testing.broken.output import ReadsLogs


@found_by("describes_itself")
class NamesNoPlatform(Broken):
    class Mixin:
        async def describe(self):
            answer = await super().describe()
            answer.platform = ""
            return answer


@found_by(
    "validate_names_the_field", "validate_names_every_field", "validate_knows_its_options",
    "what_has_no_room_is_refused",
)  # fmt: skip
class NamesNoField(Broken):
    class Mixin:
        async def validate(self, workload):
            try:
                await super().validate(workload)
            except InvalidSpec as error:
                raise InvalidSpec("no") from error


@found_by(
    "validate_takes_what_runs", "submit_is_idempotent", "stop_right_after_submit",
    "stop_of_one_task", "roles_and_replicas", "which_tasks_make_an_output",
)  # fmt: skip
class RefusesReplicas(Broken):
    def objections(self, workload):
        many = [FieldViolation("groups", "one!") for each in workload.groups if each.replicas > 1]
        return super().objections(workload) + many


@found_by("validate_names_every_field")
class NamesOneField(Broken):
    def objections(self, workload):
        return super().objections(workload)[:1]


@found_by("what_has_no_room_is_refused")
class TakesWhatHasNoRoom(Broken):
    def objections(self, workload):
        return [each for each in super().objections(workload) if "resources" not in each.field]


@found_by("prepare_is_pure")
class PreparesAnew(Broken):
    class Mixin:
        async def prepare(self, workload):
            return await super().prepare(workload) + str(next(COUNTER)).encode()


COUNTER = itertools.count()


@found_by("unknown_runs", "unknown_tasks")
class HasLogsOfAnything(Broken):
    class Mixin:
        async def logs(self, run, task, stream, offset, follow):
            try:
                async for piece in super().logs(run, task, stream, offset, follow):
                    yield piece
            except NotFound:
                return


class Twin(Process):
    """A second process of a task, with the same output."""

    def _over(self) -> bool:
        return False

    def _conclude(self, status: TaskStatus) -> None:
        """The first one decides."""


@found_by(
    "submit_is_idempotent", "submits_at_once_start_once", "a_run_that_is_over_stays_over",
    "another_driver_adopts", "a_submit_that_is_cancelled",
)  # fmt: skip
class StartsAgain(Broken):
    class Mixin:
        async def submit(self, workload, run, secrets):
            known = self.backend.runs.get(key(run))
            await super().submit(workload, run, secrets)
            if known is not None:
                self.twins = [Twin(self.backend, known, task) for task in known.tasks]


@found_by("submits_at_once_start_once")
class ChecksThenActs(Broken):
    class Mixin:
        async def submit(self, workload, run, secrets):
            known = self.backend.runs.get(key(run))
            await asyncio.sleep(0.01)
            other = self.backend.runs.get(key(run))
            await super().submit(workload, run, secrets)
            if other is not known:
                self.twins = [Twin(self.backend, other, task) for task in other.tasks]


@found_by("a_run_key_is_taken_once")
class AdoptsAnything(Broken):
    class Mixin:
        async def submit(self, workload, run, secrets):
            if key(run) not in self.backend.runs:
                await super().submit(workload, run, secrets)


@found_by("labels_may_change")
class MindsLabels(Broken):
    class Mixin:
        async def submit(self, workload, run, secrets):
            known = self.backend.runs.get(key(run))
            if known is not None and known.workload.labels != workload.labels:
                raise FailedPrecondition("other labels")
            await super().submit(workload, run, secrets)


@found_by("attempts_are_apart")
class DeletesEveryAttempt(Broken):
    class Mixin:
        async def delete(self, run):
            await super().delete(run)
            for other in [each for each in self.backend.runs if each[0] == run.experiment_uid]:
                self.backend.vanish(other)


@found_by("another_driver_adopts", "an_end_that_nobody_saw")
class KnowsItsOwnRuns(Broken):
    class Mixin:
        async def start(self):
            self.mine = set()

        async def submit(self, workload, run, secrets):
            await super().submit(workload, run, secrets)
            self.mine.add(key(run))

        async def get(self, run):
            await self.backend.enter()
            if key(run) not in self.mine:
                raise NotFound("not mine")
            return await super().get(run)

        async def watch(self, control_plane_id):
            async for item in super().watch(control_plane_id):
                if not isinstance(item, Observation) or key(item.run) in self.mine:
                    yield item


@found_by(
    "a_submit_that_is_cancelled", "calls_are_repeated_after_an_outage",
    "an_input_that_is_not_there",
)  # fmt: skip
class KeepsItsLock(Broken):
    class Mixin:
        async def start(self):
            self.lock = asyncio.Lock()

        async def submit(self, workload, run, secrets):
            await self.lock.acquire()
            await asyncio.sleep(0)
            await super().submit(workload, run, secrets)
            self.lock.release()


@found_by("a_stop_and_a_delete_that_are_cancelled")
class DeletesByHalves(Broken):
    class Mixin:
        async def delete(self, run):
            self.begun = getattr(self, "begun", set())
            if key(run) not in self.begun:
                self.begun.add(key(run))
                await asyncio.sleep(0.01)
                await super().delete(run)


@found_by("readers_that_are_cancelled")
class ReadersTakeTurns(ReadsLogs):
    class Mixin(ReadsLogs.Mixin):
        async def read(self, logs, run, task, stream, offset, follow):
            taken = self.__dict__.setdefault("taken", set())
            if offset == 0 and follow and (key(run), task, "cut") in taken:
                return
            try:
                async for piece in logs(run, task, stream, offset, follow):
                    yield piece
            except asyncio.CancelledError:
                taken.add((key(run), task, "cut"))
                raise
