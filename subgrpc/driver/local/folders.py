"""The folders of runs and tasks: what stands where, read and written.

runs/<uid>/<attempt>/workload.pb      what runs, without secrets
runs/<uid>/<attempt>/order            when it was submitted, in ns: its place in the queue
runs/<uid>/<attempt>/placed           it was given resources; which GPUs each task has
runs/<uid>/<attempt>/in/              $SUBGRPC_INPUT_DIR of all tasks
runs/<uid>/<attempt>/<role>-<index>/  a task: lock, claim, status.json, stop, stdout, stderr,
                                      agent.log, work/, out/ ($SUBGRPC_OUTPUT_DIR),
                                      taken/ (see `subgrpc.agent.taking`)
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from subgrpc import faults
from subgrpc.agent import status
from subgrpc.driver import Run, TaskKey, Workload
from subgrpc.errors import Unavailable
from subgrpc.v1.types_pb2 import TaskState, TaskStatus

RUNS = "runs"
TRASH = "trash"
WORK = "work"
OUT = "out"
INPUTS = "in"
AGENT_LOG = "agent.log"

RunKey = tuple[str, int]

_OUTCOMES = {
    "succeeded": TaskState.TASK_STATE_SUCCEEDED,
    "failed": TaskState.TASK_STATE_FAILED,
    "cancelled": TaskState.TASK_STATE_CANCELLED,
}
ENDED = frozenset(_OUTCOMES.values())
"""The states that a task does not leave."""


@contextlib.contextmanager
def disk() -> Iterator[None]:
    """Says of the disk's errors that they may pass: `Unavailable`."""
    try:
        yield
    except OSError as error:
        text = f"the local driver's folder cannot be used: {error}"
        raise Unavailable(text, reason="DISK_UNAVAILABLE", retry_after=1.0) from error


def run_key(run: Run | Workload) -> RunKey:
    """(experiment uid, attempt number)."""
    return run.experiment_uid, run.attempt


def relative_folder(key: RunKey) -> str:
    """A run's folder, relative to the driver's."""
    uid, attempt = key
    return f"{RUNS}/{uid}/{attempt}"


def create_run(folder: Path, workload: Workload, order: int) -> None:
    """Makes the folder of a run, all or nothing.

    Raises:
        OSError: the disk is full, for example.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.{order}")
    temporary.mkdir(parents=True, mode=0o700)
    try:
        (temporary / "workload.pb").write_bytes(workload.SerializeToString(deterministic=True))
        (temporary / "order").write_text(str(order))
        faults.point("local.creating")
        temporary.rename(folder)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def read_run(folder: Path) -> tuple[Workload, int] | None:
    """Returns a run's workload and order; None if there is no such run.

    Raises:
        ValueError, DecodeError: it is damaged.
    """
    try:
        data = (folder / "workload.pb").read_bytes()
        order = int((folder / "order").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    workload = Workload.FromString(data)
    if relative_folder(run_key(workload)) != f"{RUNS}/{folder.parent.name}/{folder.name}":
        raise ValueError("the workload is that of another run, or empty")
    return workload, order


def find_runs(root: Path) -> Iterator[Path]:
    """Yields the folders of all runs."""
    for folder in sorted((root / RUNS).glob("*/*")):
        if not folder.name.startswith("."):
            yield folder


def write_placement(folder: Path, gpus: Mapping[TaskKey, tuple[str, ...]]) -> None:
    """Notes that a run was given resources, and which GPUs each task has."""
    temporary = folder / ".placed"
    temporary.write_text(json.dumps({str(task): ids for task, ids in gpus.items()}))
    temporary.rename(folder / "placed")


def read_placement(folder: Path) -> dict[str, list[str]] | None:
    """Returns the GPUs by task id; None if the run still waits.

    Raises:
        ValueError: it is damaged.
    """
    try:
        found: dict[str, list[str]] = json.loads((folder / "placed").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found


def ask_to_stop(folder: Path, grace: float) -> None:
    """Leaves word for a task's supervisor that it shall stop."""
    temporary = folder / f".{status.STOP}"
    temporary.write_text(f"{grace!r}\n")
    temporary.rename(folder / status.STOP)
    faults.point("local.told-to-stop")


def is_locked(folder: Path) -> bool:
    """Whether a supervisor holds the task's lock, which it does until it dies."""
    try:
        # Read-only: closing a descriptor for writing would look like a supervisor's death.
        descriptor = os.open(folder / status.LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def was_claimed(folder: Path) -> bool:
    """Whether a supervisor has taken the right to start the task's process."""
    return (folder / status.CLAIM).exists()


def read_claim(folder: Path) -> tuple[int, int]:
    """Returns the supervisor's pid and start time in ticks; (0, 0) if there is none (yet)."""
    try:
        pid, ticks = (folder / status.CLAIM).read_text().split()
    except (OSError, ValueError):
        return 0, 0
    return int(pid), int(ticks)


def read_status(folder: Path, task: TaskKey, node: str) -> TaskStatus | None:
    """Returns how a supervisor says that its task stands; None if it has said nothing yet."""
    try:
        return _task_status(json.loads((folder / status.FILE).read_bytes()), task, node)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, LookupError, TypeError):  # a crash of the host may leave half a file
        return None


def discard_run(root: Path, folder: Path) -> None:
    """Removes a run's folder; from one moment to the next there is no such run.

    Raises:
        OSError: something cannot be removed; `empty_trash` tries again.
    """
    trash = root / TRASH
    trash.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        target = trash / f"{folder.parent.name}.{folder.name}.{time.time_ns()}"
        folder.rename(target)
        faults.point("local.discarded")
        remove_tree(target)
    with contextlib.suppress(OSError):  # other attempts are still there
        folder.parent.rmdir()


def empty_trash(root: Path) -> None:
    """Removes what a server that was killed had begun to remove.

    Raises:
        OSError: something cannot be removed.
    """
    for folder in (root / TRASH).glob("*"):
        remove_tree(folder)
    for half_made in (root / RUNS).glob("*/.*"):
        remove_tree(half_made)


def remove_tree(folder: Path) -> None:
    """Removes a folder with all that tasks may have left in it; a missing one is fine.

    Raises:
        OSError: something cannot be removed.
    """
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except PermissionError:
        # A task may have taken its own folders' permissions away.
        for path, _, _ in os.walk(folder):
            os.chmod(path, stat.S_IRWXU)
            for entry in os.scandir(path):
                if entry.is_dir(follow_symlinks=False):
                    os.chmod(entry.path, stat.S_IRWXU)
        shutil.rmtree(folder)


def _task_status(found: dict[str, Any], task: TaskKey, node: str) -> TaskStatus:
    result = TaskStatus(role=task.role, index=task.index, node=node)
    result.state = _OUTCOMES.get(found["outcome"], TaskState.TASK_STATE_RUNNING)
    result.reason, result.message = found["reason"], found["message"]
    result.signal = found["signal"]
    if found["exit_code"] >= 0:
        result.exit_code = found["exit_code"]
    if found["start_ns"]:
        result.start_time.FromNanoseconds(found["start_ns"])
    if found["end_ns"]:
        result.end_time.FromNanoseconds(found["end_ns"])
    return result
