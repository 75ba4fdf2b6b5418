"""Broken builds: each takes one guard of the server away, and the crash tests have to notice.

They patch a server of these tests before it starts; there is nothing of them in subgrpc itself.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from subgrpc import faults
from subgrpc.agent import status
from subgrpc.driver import Run
from subgrpc.driver.local import launch
from subgrpc.engine import reconcile, start
from subgrpc.metastore.engine_transaction import EngineTransaction
from subgrpc.metastore.records import Fence, Lease
from subgrpc.services import watch_cursor

POINT = "mutant.submitted"
"""The point between a submit that comes too early and the store that comes too late."""


def submit_before_persist() -> None:
    """The driver gets a run before the attempt and its handle are stored."""
    original = start.start_or_wait

    async def start_or_wait(context: Any, experiment: Any, previous: Any) -> None:
        if previous is None:
            number = experiment.attempt + 1
            workload = context.workload(experiment, number)
            handle = await context.driver.prepare(workload)
            identity = context.store.identity.control_plane_id
            run = Run(
                control_plane_id=identity,
                experiment_uid=experiment.uid,
                attempt=number,
                handle=handle,
            )
            await context.driver.submit(workload, run, {})
            await asyncio.sleep(0.2)  # long enough for the task to start
            faults.point(POINT)
        await original(context, experiment, previous)

    reconcile.start_or_wait = start_or_wait  # type: ignore[assignment]


def resume_off_by_one() -> None:
    """A watch goes on behind the change after the one of its token."""
    original = watch_cursor._opened

    def opened(sealer: Any, token: str) -> watch_cursor.Position:
        position = original(sealer, token)
        return position._replace(revision=position.revision + 1)

    watch_cursor._opened = opened


def epoch_not_checked() -> None:
    """Every engine write is carried out, whoever leads by now."""

    def check_fence(self: EngineTransaction, fence: Fence) -> Lease:
        held = self._lease(f"clusters/{fence.cluster.removeprefix('clusters/')}")
        assert held is not None
        return held

    EngineTransaction.check_fence = check_fence  # type: ignore[method-assign]


def claim_not_checked() -> None:
    """A supervisor starts its task though another one has, or had, the right to."""
    granted = "import agent.status as s; claim = s.claim; s.claim = lambda f: claim(f) or True; "
    # The folders of outputs, which are there already, would stop the second one by chance.
    granted += (
        "import os; mkdir = os.mkdir; os.mkdir = lambda *a: os.path.isdir(a[0]) or mkdir(*a); "
    )
    main = "from agent.supervisor"
    launch._BOOT = launch._BOOT.replace(main, granted + main)
    spawn = launch.Launcher._spawn

    def spawn_anyway(self: launch.Launcher, folder: Any, task: Any) -> Any:
        lock = os.open(folder / status.LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (folder / launch.WORK).mkdir(exist_ok=True)
            return spawn(self, folder, task, lock)
        except BlockingIOError:
            return None
        finally:
            os.close(lock)

    launch.Launcher.launch = spawn_anyway  # type: ignore[method-assign]


class Mutant(NamedTuple):
    """A broken build.

    Attributes:
        apply: breaks it.
        found: what the tests have to say of it, among other things.
    """

    apply: Callable[[], None]
    found: str


MUTANTS: Mapping[str, Mutant] = {
    "submit-before-persist": Mutant(submit_before_persist, "was started, but not stored"),
    "resume-off-by-one": Mutant(resume_off_by_one, "watch, "),
    "epoch-not-checked": Mutant(epoch_not_checked, "lost its lease started"),
    "claim-not-checked": Mutant(claim_not_checked, "was started 2 times"),
}
