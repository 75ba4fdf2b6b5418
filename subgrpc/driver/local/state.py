"""What the driver keeps in memory of runs and tasks; the folders hold all of it but secrets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from subgrpc import reasons
from subgrpc.driver import Observation, Run, TaskKey, Workload
from subgrpc.driver.local.admission import Demand, total
from subgrpc.driver.local.folders import ENDED, RunKey, relative_folder
from subgrpc.v1.types_pb2 import TaskState, TaskStatus


@dataclass(slots=True, eq=False)
class LocalTask:
    """One task.

    Attributes:
        launching: its supervisor is being started now.
        retry: it could not be started; that may pass.
        launched: this driver started its supervisor; else an earlier one may have.
        stopping: its supervisor was told to end it.
        burying: its supervisor died, and what is left is being removed now.
        watched: the kernel tells us when its status changes; else it is polled.
        bells: set when it changes, for those who follow its output.
    """

    key: TaskKey
    folder: Path
    demand: Demand
    status: TaskStatus
    gpus: tuple[str, ...] = ()
    launching: bool = False
    launched: bool = False
    retry: bool = False
    stopping: bool = False
    burying: bool = False
    watched: bool = False
    bells: set[asyncio.Event] = field(default_factory=set)

    @property
    def ended(self) -> bool:
        """Whether no process of it is left, and none will come."""
        return self.status.state in ENDED


@dataclass(slots=True, eq=False)
class LocalRun:
    """One run.

    Attributes:
        order: its place in the queue, in ns since the epoch.
        secrets: the secrets' values; None until the server has handed them over again.
        placed: its tasks were given resources.
        deleting: it is being removed.
        vanished: somebody has removed its folder.
        message: why it waits, for a person.
        over: set when every task has ended.
    """

    key: RunKey
    folder: Path
    workload: Workload
    order: int
    tasks: dict[TaskKey, LocalTask]
    secrets: Mapping[str, bytes] | None = None
    placed: bool = False
    deleting: bool = False
    vanished: bool = False
    message: str = ""
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def demand(self) -> Demand:
        """What the tasks need that are not over."""
        return total(task.demand for task in self.tasks.values() if not task.ended)

    @property
    def waits(self) -> bool:
        """Whether it waits for resources."""
        return not self.placed and not self.deleting and not self.over.is_set()

    def select(self, tasks: Iterable[TaskKey]) -> list[LocalTask]:
        """Returns the tasks of these keys, or all of them; unknown keys are left out."""
        wanted = {TaskKey(*key) for key in tasks}
        return [task for task in self.tasks.values() if not wanted or task.key in wanted]

    def run(self) -> Run:
        """The run as the contract names it."""
        uid, attempt = self.key
        return Run(
            control_plane_id=self.workload.control_plane_id,
            experiment_uid=uid,
            attempt=attempt,
            handle=make_handle(self.key),
        )

    def observation(self) -> Observation:
        """How it stands."""
        waits = self.waits
        return Observation(
            run=self.run(),
            tasks=[task.status for task in self.tasks.values()],
            reason=reasons.WAITING_FOR_RESOURCES if waits else "",
            message=self.message if waits else "",
        )


def make_handle(key: RunKey) -> bytes:
    """The handle of a run: where its folder stands below the driver's."""
    return json.dumps({"folder": relative_folder(key)}).encode()


def queued(task: TaskKey, reason: str = "") -> TaskStatus:
    """The status of a task that has no supervisor."""
    state = TaskState.TASK_STATE_QUEUED
    return TaskStatus(role=task.role, index=task.index, state=state, reason=reason)
