"""A backend for simulations: its truth, and a network between it and the drivers that does harm.

Messages take time, are lost, answered in vain, or arrive long after their sender has given up or
died; a watch is late, repeats itself and sends what is older after what is newer. Late arrivals
meet the start claim: an agent whose attempt is over or superseded does not start the task.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any, ClassVar

from subgrpc.driver import (
    ClusterConfig,
    Driver,
    DriverDescription,
    Gone,
    LogChunk,
    LogGap,
    Observation,
    Run,
    Synced,
    TaskKey,
    Workload,
    WorkloadOutput,
)
from subgrpc.errors import FieldViolation, InvalidSpec, NotFound, Unavailable
from subgrpc.testing.fake_outputs import FakeOutputs, Taken, take
from subgrpc.v1.types_pb2 import LogStream, Resources, TaskState, TaskStatus

Key = tuple[str, int]
QUEUED, STARTING, RUNNING = (
    TaskState.TASK_STATE_QUEUED,
    TaskState.TASK_STATE_STARTING,
    TaskState.TASK_STATE_RUNNING,
)
SUCCEEDED, FAILED, CANCELLED = (
    TaskState.TASK_STATE_SUCCEEDED,
    TaskState.TASK_STATE_FAILED,
    TaskState.TASK_STATE_CANCELLED,
)
POISON = "refused-at-submit"
"""A command that `validate` takes and `submit` refuses."""
GIVEN_UP = 2.0
"""Seconds after which a call without an answer is Unavailable."""


@dataclass
class Link:
    """Between one server and everything else."""

    cut: bool = False
    dead: bool = False


@dataclass
class TrueRun:
    """A run as it really is."""

    run: Run
    tasks: dict[TaskKey, TaskStatus]
    lies: bool = False
    """Whether `get` may still once say that it does not exist."""
    lies_until: float = -1.0
    stopping: set[TaskKey] = field(default_factory=set)
    outputs: list[WorkloadOutput] = field(default_factory=list)
    taken: Taken = field(default_factory=dict)

    def alive(self) -> bool:
        """Whether a task of it runs, or may."""
        return any(task.state < SUCCEEDED for task in self.tasks.values())

    def observation(self) -> Observation:
        """What a driver says of it now."""
        answer = Observation(run=self.run)
        answer.tasks.extend(self.tasks.values())
        return answer


class Claim(Enum):
    """What an agent hears that asks whether it may start its task."""

    GRANTED = 1
    REFUSED = 2
    UNKNOWN = 3


class Backend:
    """The truth.

    Attributes:
        trouble: how likely a message comes to harm, 0 to 1.
        outage: nobody reaches it.
        obedient: tasks end soon after they are stopped; else only by `proceed`.
        wrongs: promises that the engine broke.
    """

    def __init__(self, seed: int, claim: Callable[[Key], Claim]) -> None:
        self.chance = random.Random(seed)
        self.trouble = 0.0
        self.outage = False
        self.obedient = True
        self.runs: dict[Key, TrueRun] = {}
        self.wrongs: list[str] = []
        self.starts: list[Key] = []
        self._claim = claim
        self._watchers: set[asyncio.Queue[Observation | Gone | None]] = set()

    # What happens by itself

    def proceed(self, number: int, outcome: int) -> None:
        """Some task goes a step further, or ends."""
        tasks = [(run, t) for run in self.runs.values() for t in run.tasks.values() if t.state < 4]
        if tasks:
            run, task = tasks[number % len(tasks)]
            after = (task.state + 1, SUCCEEDED, FAILED, task.state + 1)[outcome % 4]
            self.turn(run, task, CANCELLED if self._told(run, task) and after > RUNNING else after)

    def turn(self, run: TrueRun, task: TaskStatus, state: int) -> None:
        """A task comes into a state."""
        now = TaskStatus()
        now.CopyFrom(task)
        now.state = state  # type: ignore[assignment]
        moment = int(asyncio.get_running_loop().time() * 1e9) + 1_800_000_000_000_000_000
        if state in (RUNNING, SUCCEEDED) and not now.HasField("start_time"):
            now.start_time.FromNanoseconds(moment)
        if state >= SUCCEEDED:
            now.end_time.FromNanoseconds(moment)
            now.reason = {FAILED: "ExitCode", CANCELLED: "Stopped"}.get(state, "")  # type: ignore[call-overload]
            if state != CANCELLED:
                now.exit_code = int(state == FAILED)
        key = TaskKey(now.role, now.index)
        for output in run.outputs:
            if state == SUCCEEDED or (output.always and state == FAILED):
                take(run.taken, key, output.name, {"of": str(key).encode()})
        run.tasks[key] = now
        self.publish(run.observation())

    def vanish(self, number: int) -> None:
        """Somebody removes a run behind our back."""
        if self.runs:
            key = list(self.runs)[number % len(self.runs)]
            self.starts = [
                each for each in self.starts if each != key
            ]  # if nobody had heard of it yet, it is started anew
            self.publish(Gone(self.runs.pop(key).run))

    def finish_all(self) -> None:
        """Everything that runs comes to its end."""
        for run in tuple(self.runs.values()):
            for task in tuple(run.tasks.values()):
                if task.state < SUCCEEDED:
                    self.turn(run, task, CANCELLED if self._told(run, task) else SUCCEEDED)

    def alive(self, uid: str) -> list[int]:
        """The attempts of an experiment that run, or may."""
        return [number for (of, number), run in self.runs.items() if of == uid and run.alive()]

    def break_watches(self) -> None:
        """Every watch fails, and has to begin anew."""
        for queue in self._watchers:
            queue.put_nowait(None)

    # What drivers ask for

    def submit(self, workload: Workload, run: Run, late: bool) -> None:
        key = (run.experiment_uid, run.attempt)
        if workload.groups[0].args[-1] == POISON:
            raise InvalidSpec(violations=[FieldViolation("groups[0].args", "poison")])
        if key in self.runs:
            return
        claim = self._claim(key) if late else Claim.GRANTED
        if claim == Claim.UNKNOWN:
            return  # nobody looks after what comes of an experiment that is gone
        if claim == Claim.GRANTED and (others := self.alive(run.experiment_uid)):
            self.wrongs.append(f"attempt {run.attempt} is started while {others} may run")
        if claim == Claim.GRANTED:
            if key in self.starts and not late:
                self.wrongs.append(f"attempt {key} is started a second time")
            self.starts.append(key)
        tasks = {
            TaskKey(group.role, index): TaskStatus(
                role=group.role,
                index=index,
                state=QUEUED if claim == Claim.GRANTED else CANCELLED,
            )
            for group in workload.groups
            for index in range(group.replicas)
        }
        lies = self.chance.random() < self.trouble / 2
        own = self.runs[key] = TrueRun(Run(), tasks, lies, outputs=list(workload.outputs))
        own.run.CopyFrom(run)
        self.publish(own.observation())

    def get(self, run: Run) -> Observation:
        found = self.runs.get((run.experiment_uid, run.attempt))
        now = asyncio.get_running_loop().time()
        if found is not None and found.lies and self.chance.random() < 0.3:
            found.lies, found.lies_until = False, now + 0.9
        if found is None or now < found.lies_until:
            raise NotFound("there is no such run")
        return found.observation()

    def stop(self, run: Run, tasks: Sequence[TaskKey]) -> None:
        found = self.runs.get((run.experiment_uid, run.attempt))
        if found is not None:
            found.stopping |= set(tasks or found.tasks)
            if self.obedient:
                asyncio.get_running_loop().call_later(0.2, self._obey, found)

    def delete(self, run: Run) -> None:
        found = self.runs.pop((run.experiment_uid, run.attempt), None)
        if found is not None:
            self.publish(Gone(found.run))

    def publish(self, item: Observation | Gone) -> None:
        for queue in self._watchers:
            queue.put_nowait(item)

    def subscribe(self) -> tuple[asyncio.Queue[Observation | Gone | None], list[Observation]]:
        """A queue of what changes from now on, and how things stand."""
        queue: asyncio.Queue[Observation | Gone | None] = asyncio.Queue()
        self._watchers.add(queue)
        return queue, [run.observation() for run in self.runs.values()]

    def unsubscribe(self, queue: asyncio.Queue[Observation | Gone | None]) -> None:
        self._watchers.discard(queue)

    def unlucky(self, weight: float = 1.0) -> bool:
        """Whether something goes wrong now."""
        return self.chance.random() < self.trouble * weight

    def _obey(self, run: TrueRun) -> None:
        for task in tuple(run.tasks.values()):
            if task.state < SUCCEEDED and self._told(run, task):
                self.turn(run, task, CANCELLED)

    @staticmethod
    def _told(run: TrueRun, task: TaskStatus) -> bool:
        return TaskKey(task.role, task.index) in run.stopping


class SimulatedDriver(FakeOutputs, Driver):
    """The driver of a `Backend`, over a `Link`."""

    name: ClassVar[str] = "simulated"
    backend: ClassVar[Backend]
    link: ClassVar[Link]

    @classmethod
    def from_config(cls, config: ClusterConfig) -> SimulatedDriver:
        if cls.backend.unlucky(0.2):
            raise RuntimeError("a driver with a bug")
        return cls()

    async def describe(self) -> DriverDescription:
        await self._call(lambda late: None)
        return DriverDescription(
            driver=self.name, default_request=Resources(cpu="100m", memory="128Mi")
        )

    async def validate(self, workload: Workload) -> None:
        """Takes everything."""

    async def prepare(self, workload: Workload) -> bytes:
        await self._call(lambda late: None)
        return f"{workload.experiment_uid} {workload.attempt}".encode()

    async def submit(self, workload: Workload, run: Run, secrets: Mapping[str, bytes]) -> None:
        await self._call(lambda late: self.backend.submit(workload, run, late))

    async def get(self, run: Run) -> Observation:
        found: Observation = await self._call(lambda late: self.backend.get(run))
        return found

    async def taken(self, run: Run, task: TaskKey) -> Taken:
        """Whose absence may be a lie, as that of the run."""

        def look(late: bool) -> Taken:
            self.backend.get(run)
            return self.backend.runs[run.experiment_uid, run.attempt].taken

        found: Taken = await self._call(look)
        return found

    async def stop(self, run: Run, tasks: Sequence[TaskKey] = (), *, grace: timedelta) -> None:
        await self._call(lambda late: self.backend.stop(run, tasks))

    async def delete(self, run: Run) -> None:
        await self._call(lambda late: self.backend.delete(run))

    async def watch(self, control_plane_id: str) -> AsyncIterator[Observation | Synced | Gone]:
        """Late, repeated and out of order; after it broke it is right again."""
        await self._call(lambda late: None)
        queue, first = self.backend.subscribe()
        sent: list[Observation] = []
        try:
            for item in first:
                yield item
            yield Synced()
            while True:
                change = await queue.get()
                await self._pause()
                if change is None or self.backend.outage or self.backend.unlucky(0.1):
                    raise Unavailable("the watch broke")
                yield change
                if isinstance(change, Observation):
                    sent.append(change)
                if sent and self.backend.unlucky(0.5):
                    older = self.backend.chance.choice(sent[-8:])
                    yield older
                    newest = self.backend.runs.get((older.run.experiment_uid, older.run.attempt))
                    await self._pause()
                    if newest is None:
                        yield Gone(older.run)
                    else:
                        yield newest.observation()
        finally:
            self.backend.unsubscribe(queue)

    async def logs(
        self, run: Run, task: TaskKey, stream: LogStream.ValueType, offset: int, follow: bool
    ) -> AsyncIterator[LogChunk | LogGap]:
        """There is no output: what the collector does is tested elsewhere."""
        while True:
            found = self.backend.runs.get((run.experiment_uid, run.attempt))
            if found is None:
                raise NotFound("there is no such run")
            if task not in found.tasks or found.tasks[task].state >= SUCCEEDED:
                return
            await asyncio.sleep(1.0)
            yield LogGap(offset=offset, length=0)

    async def _pause(self) -> None:
        await asyncio.sleep(self.backend.chance.choice((0, 0, 0.01, 0.3)) if self._harmful() else 0)

    def _harmful(self) -> bool:
        return self.backend.trouble > 0

    async def _call(self, effect: Callable[[bool], Any]) -> Any:
        """Sends a message and waits for the answer."""
        backend, loop = self.backend, asyncio.get_running_loop()
        if self.link.dead or backend.outage:
            await asyncio.sleep(0.1)
            raise Unavailable("the backend cannot be reached")
        if backend.unlucky(0.05):
            raise RuntimeError("a driver with a bug")
        answer: asyncio.Future[Any] = loop.create_future()
        delay = backend.chance.choice((0.0, 0.001, 0.05, 0.5)) if self._harmful() else 0.0
        if backend.unlucky(0.2):
            delay = GIVEN_UP + backend.chance.random() * 10

        def arrive() -> None:
            late = answer.done() or self.link.dead
            try:
                found = effect(late)
            except Exception as error:
                if not answer.done():
                    answer.set_exception(error)
            else:
                if not answer.done() and not unanswered:
                    answer.set_result(found)

        lost, unanswered = backend.unlucky(0.3), backend.unlucky(0.2)
        if not lost:
            loop.call_later(delay, arrive)
        try:
            return await asyncio.wait_for(answer, GIVEN_UP)
        except (TimeoutError, asyncio.TimeoutError):
            raise Unavailable("no answer in time") from None


def make_driver(backend: Backend, link: Link) -> type[Driver]:
    """Returns a class of drivers of one server."""
    return type("LinkedDriver", (SimulatedDriver,), {"backend": backend, "link": link})
