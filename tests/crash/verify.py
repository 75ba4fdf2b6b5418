"""Judges a universe that has come to rest: what was acknowledged, started, ended, written, told."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subgrpc.client import AsyncClient
from subgrpc.errors import SubgrpcError
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2 import Experiment, Task
from subgrpc.v1.types_pb2 import TaskState

from . import evidence, history, kept, workload
from .submitters import Follower

if TYPE_CHECKING:
    from .universe import Result

TERMINAL = (
    api.EXPERIMENT_STATE_SUCCEEDED,
    api.EXPERIMENT_STATE_FAILED,
    api.EXPERIMENT_STATE_CANCELLED,
)
ENDED_TASKS = (
    TaskState.TASK_STATE_SUCCEEDED,
    TaskState.TASK_STATE_FAILED,
    TaskState.TASK_STATE_CANCELLED,
)
READERS = 8


async def judge(
    folder: Path, database: evidence.Database, addresses: list[str], result: Result
) -> None:
    """Judges everything; adds counts, and what is wrong, to the result."""
    judge = Judge(folder, database, result)
    judge.acknowledgements()
    judge.starts()
    judge.attempts()
    judge.outcomes()
    judge.transitions()
    judge.watches()
    judge.followers()
    await judge.logs(addresses)
    await judge.outputs(addresses)


class Judge:
    """The evidence of one universe."""

    def __init__(self, folder: Path, database: evidence.Database, result: Result) -> None:
        self._folder, self._database, self._result = folder, database, result
        bodies = database.rows("SELECT body FROM experiment")
        self._experiments = {e.uid: e for e in (Experiment.FromString(row[0]) for row in bodies)}
        self._acks = list(evidence.lines(folder, "acks"))
        self._kinds: dict[str, str] = {ack["uid"]: ack["kind"] for ack in self._acks}
        self._deletes = {line["uid"] for line in evidence.lines(folder, "deletes")}
        self._ledger = evidence.ledger(folder)
        killed = folder / "killed"
        self._killed = set(killed.read_text().splitlines()) if killed.exists() else set()
        self._changes = database.changes()
        self._tasks: dict[tuple[str, int], list[Task]] = defaultdict(list)
        for uid, attempt, body in database.rows("SELECT experiment_uid, attempt, body FROM task"):
            self._tasks[uid, attempt].append(Task.FromString(body))

    def acknowledgements(self) -> None:
        """What was acknowledged is there, once."""
        result = self._result
        result.counts["experiments"] += len(self._kinds)
        for line in evidence.lines(self._folder, "violations"):
            result.violations.append(f"{line['what']}: {line.get('rid', '')} {line['text']}")
        gone = {line["uid"] for line in evidence.lines(self._folder, "deleted")}
        for uid in self._kinds.keys() - self._experiments.keys() - self._deletes:
            result.lost.append(f"experiment {uid} was acknowledged, and is not there")
        for uid in gone & self._experiments.keys():
            result.violations.append(f"experiment {uid} was deleted, and is there")
        uids = defaultdict(set)
        for change in self._changes:
            if change.after is not None:
                uids[change.after.labels["rid"]].add(change.uid)
        for rid, several in uids.items():
            if len(several) > 1:
                result.doubled.append(f"request {rid} made {sorted(several)}")

    def starts(self) -> None:
        """No task of an attempt was started twice; attempts follow one another."""
        result = self._result
        counted = Counter(task for what, task, _ in self._ledger if what == "start")
        result.counts["starts"] += len(counted)
        for task, times in counted.items():
            if times > 1:
                result.doubled.append(f"task {task} was started {times} times")
        latest: dict[str, int] = {}
        for what, task, _ in self._ledger:
            uid, attempt, _ = evidence.split(task)
            if attempt < latest.get(uid, 0):
                result.violations.append(f"{what} of {task} came when a later attempt had begun")
            latest[uid] = max(attempt, latest.get(uid, 0))
            if uid not in self._kinds:
                result.violations.append(f"task {task} belongs to nothing acknowledged")

    def attempts(self) -> None:
        """Every attempt of an experiment that is there has ended, with its tasks."""
        result = self._result
        sql = "SELECT experiment_uid, number, end_time, settled, logs_complete FROM attempt"
        numbers = defaultdict(set)
        for uid, number, end_time, settled, complete in self._database.rows(sql):
            result.counts["attempts"] += 1
            numbers[uid].add(number)
            if end_time is None or not settled or not complete:
                result.violations.append(f"attempt {number} of {uid} has no end")
            if any(task.status.state not in ENDED_TASKS for task in self._tasks[uid, number]):
                result.violations.append(f"attempt {number} of {uid} has tasks without an end")
        for uid, experiment in self._experiments.items():
            if experiment.state not in TERMINAL:
                result.violations.append(f"{uid} is {self._state(experiment)} at the end")
            if numbers[uid] != set(range(1, experiment.attempt + 1)):
                result.violations.append(f"{uid} has the attempts {sorted(numbers[uid])}")
        for what, task, _ in self._ledger:
            uid, attempt, _ = evidence.split(task)
            if uid in self._experiments and attempt not in numbers[uid]:
                result.violations.append(f"{what} of {task}: there is no such attempt")

    def outcomes(self) -> None:
        """Every experiment and task ended as it had to, unless its supervisor was killed."""
        ends = {task: code for what, task, code in self._ledger if what == "end"}
        started = {task for what, task, _ in self._ledger if what == "start"}
        for (uid, attempt), tasks in self._tasks.items():
            for each in tasks:
                key = f"{uid}-{attempt}-{each.status.role}-{each.status.index}"
                self._task_outcome(key, each, ends.get(key), key in started)
        for uid, experiment in self._experiments.items():
            kind = workload.KINDS[self._kinds.get(uid) or experiment.labels["kind"]]
            hit = any(task.startswith(f"{uid}-") for task in self._killed)
            want = kind.outcome, kind.reason
            if kind.outcome and (self._state(experiment), experiment.reason) != want and not hit:
                text = f"{self._state(experiment)} {experiment.reason} {experiment.message}"
                self._result.violations.append(f"{uid} should be {want} and is {text}")
            if hit and experiment.state == api.EXPERIMENT_STATE_FAILED:
                self._result.counts[f"failed: {experiment.reason}"] += 1
        for line in evidence.lines(self._folder, "waits"):
            found = self._experiments.get(line["uid"])
            if found is not None and found.state != line["state"]:
                text = f"{line['uid']} ended as {line['state']}, and is {self._state(found)}"
                self._result.violations.append(text)
        for line in evidence.lines(self._folder, "labelled"):
            if self._experiments[line["uid"]].labels.get("changed") != "yes":
                self._result.violations.append(f"{line['uid']} lost an acknowledged update")

    def _task_outcome(self, key: str, task: Task, code: int | None, started: bool) -> None:
        status, problem = task.status, ""
        if status.state == TaskState.TASK_STATE_SUCCEEDED and code != 0:
            problem = f"succeeded, but its end is {code}"
        elif status.reason == "ExitCode" and code != status.exit_code:
            problem = f"failed with {status.exit_code}, but its end is {code}"
        elif status.reason in ("Lost", "StartFailed") and key not in self._killed:
            problem = f"is {status.reason}, but nobody killed its supervisor: {status.message}"
        elif status.state == TaskState.TASK_STATE_SUCCEEDED and not started:
            problem = "succeeded, but never started"
        if problem:
            self._result.violations.append(f"task {key} {problem}")

    def transitions(self) -> None:
        """Histories only go forward: terminal states absorb, attempts count up."""
        revisions = [change.revision for change in self._changes]
        if revisions != sorted(revisions):
            self._result.violations.append("the change log is out of order")
        previous: dict[str, Experiment | None] = {}
        for change in self._changes:
            before, after = change.before, change.after
            if (before is None) != (previous.get(change.uid) is None) or (
                before is not None and before != previous[change.uid]
            ):
                text = f"change {change.revision} of {change.uid} does not follow the last"
                self._result.violations.append(text)
            previous[change.uid] = after
            if before is not None and after is not None and not _may_follow(before, after):
                text = f"{change.uid} went from {self._state(before)} to {self._state(after)}"
                self._result.violations.append(f"{text} at {change.revision}")
        for uid, experiment in self._experiments.items():
            if previous.get(uid) != experiment:
                self._result.violations.append(f"{uid} is not what its last change says")

    def watches(self) -> None:
        """The guarantees of watches hold."""
        final = int((self._folder / "final").read_text())
        lines = evidence.lines(self._folder, "watches")
        faults, calls, frames = history.check(lines, self._changes, final)
        self._result.counts["watch calls"] += calls
        self._result.counts["watch frames"] += frames
        self._result.violations += [f"watch, {guarantee}: {text}" for guarantee, text in faults]

    def followers(self) -> None:
        """Those who followed logs live got every byte, once."""
        for line in evidence.lines(self._folder, "follows"):
            self._result.counts["followers"] += 1
            self._output(f"follower of {line['uid']}", line["uid"], line, complete=line["ended"])

    async def logs(self, addresses: list[str]) -> None:
        """Whoever reads the logs now gets every byte, once."""
        waiting = [each for each in self._experiments.values() if each.uid in self._kinds]
        clients = [AsyncClient(address) for address in addresses]

        async def read() -> None:
            while waiting:
                await self._read_logs(random.choice(clients), waiting.pop())

        await asyncio.gather(*(read() for _ in range(READERS)))
        for client in clients:
            await client.close()

    async def outputs(self, addresses: list[str]) -> None:
        """What tasks left in files is there, once."""
        async with AsyncClient(random.choice(addresses)) as client:
            await kept.judge(self._database, client, self._experiments.values(), self._result)

    async def _read_logs(self, client: AsyncClient, experiment: Experiment) -> None:
        uid = experiment.uid
        follower = Follower(self._kinds[uid], uid)
        try:
            async for frame in client.follow_logs(experiment.name, follow=False):
                follower.take(frame)
        except SubgrpcError as error:
            self._result.violations.append(f"logs of {uid}: {error.reason}: {error}")
            return
        self._result.counts["log bytes"] += sum(follower.sizes.values())
        found = {"sizes": follower.sizes, "faults": follower.faults}
        self._output(f"log of {uid}", uid, found, complete=True)

    def _output(self, who: str, uid: str, found: dict[str, Any], *, complete: bool) -> None:
        """Compares what somebody has got with what the tasks have written."""
        for fault in found["faults"]:
            (self._result.lost if "gap" in fault else self._result.doubled).append(
                f"{who}: {fault}"
            )
        if not complete or uid not in self._experiments:
            return
        for task in self._finished(uid):
            _, attempt, name = evidence.split(task)
            for stream in ("out", "err"):
                size = found["sizes"].get(f"{attempt} {name} {stream}", 0)
                wanted = len(workload.output(self._kinds[uid], task, stream))
                if size < wanted:
                    text = f"{who}: {size} of {wanted} bytes of {stream} of {task}"
                    self._result.lost.append(text)

    def _finished(self, uid: str) -> list[str]:
        """The tasks of an experiment that have come to their end, and so have written all."""
        if not hasattr(self, "_finished_tasks"):
            self._finished_tasks: dict[str, list[str]] = defaultdict(list)
            for what, task, _ in self._ledger:
                if what == "end":
                    self._finished_tasks[evidence.split(task)[0]].append(task)
        return self._finished_tasks[uid]

    @staticmethod
    def _state(experiment: Experiment) -> str:
        return api.ExperimentState.Name(experiment.state).removeprefix("EXPERIMENT_STATE_")


def _may_follow(before: Experiment, after: Experiment) -> bool:
    deleting = api.EXPERIMENT_STATE_DELETING
    if after.attempt < before.attempt:
        return False
    if before.state in TERMINAL:
        return after.state in (before.state, deleting)
    if before.state == deleting:
        return after.state == deleting
    if before.state == api.EXPERIMENT_STATE_CANCELLING:
        return after.state != api.EXPERIMENT_STATE_QUEUED and after.state >= before.state
    retried = after.state == api.EXPERIMENT_STATE_QUEUED
    return after.state >= before.state or retried
