"""Starts supervisors: what each is asked to do, and the process itself."""

from __future__ import annotations

import compileall
import fcntl
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path

import subgrpc.agent
from subgrpc import faults
from subgrpc.agent import outputs, request, status
from subgrpc.driver import TaskKey, Workload, WorkloadGroup, WorkloadOutput
from subgrpc.driver.local.demands import memory_limit
from subgrpc.driver.local.folders import AGENT_LOG, INPUTS, OUT, WORK
from subgrpc.driver.local.host import Host
from subgrpc.driver.local.options import working_directory
from subgrpc.errors import FieldViolation, InvalidSpec

_AGENT = Path(subgrpc.agent.__file__).parent
# The agent's package is found by its own folder's parent, for as long as it takes to import it:
# other modules there have the names of the standard library's.
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); import agent; del sys.path[0]; "
    "from agent.supervisor import main; main(*sys.argv[2:])"
)
_NOT_INHERITED = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "OLDPWD")


def task_uid(workload: Workload, task: TaskKey) -> str:
    """What marks every process of a task, in the variable SUBGRPC_TASK_UID."""
    return f"{workload.experiment_uid}-{workload.attempt}-{task}"


def group_folder(host: Host, workload: Workload, task: TaskKey) -> str:
    """The control group of a task with a memory limit; empty: none can be made."""
    return f"{host.cgroup}/subgrpc-{task_uid(workload, task)}" if host.cgroup else ""


def makes(output: WorkloadOutput, task: TaskKey) -> bool:
    """Whether a task makes an output."""
    return output.role == task.role and (output.every_task or task.index == 0)


def check_secrets(workload: Workload, secrets: Mapping[str, bytes]) -> None:
    """Checks that every secret is there and can be put into an environment.

    Raises:
        InvalidSpec: one is missing, or holds a NUL.
    """
    violations = []
    for number, group in enumerate(workload.groups):
        for name, key in group.secret_env.items():
            value = secrets.get(key)
            if value is None or b"\0" in value:
                what = "is not there" if value is None else "holds a NUL: no variable can"
                path = f"groups[{number}].secret_env[{name}]"
                violations.append(FieldViolation(path, f"the secret {key!r} {what}"))
    if violations:
        raise InvalidSpec(violations=violations)


def make_request(
    workload: Workload,
    task: TaskKey,
    secrets: Mapping[str, bytes],
    host: Host,
    gpus: Sequence[str],
    folder: Path,
) -> request.Request:
    """Returns what the task's supervisor is asked to do."""
    group = next(each for each in workload.groups if each.role == task.role)
    cwd = working_directory(workload.options) or str(folder / WORK)
    limit = memory_limit(group)
    out = folder / OUT
    env = _environment(workload, group, task, secrets, host, gpus, cwd)
    env[b"SUBGRPC_OUTPUT_DIR"] = os.fsencode(out)
    if workload.inputs:
        env[b"SUBGRPC_INPUT_DIR"] = os.fsencode(folder.parent / INPUTS)
    return request.Request(
        args=[arg.encode() for arg in group.args],
        env=env,
        cwd=os.fsencode(cwd),
        grace=workload.termination_grace_period.ToTimedelta().total_seconds(),
        timeout=workload.timeout.ToTimedelta().total_seconds(),
        memory=limit,
        cgroup=group_folder(host, workload, task) if limit else "",
        outputs=[_output(each) for each in workload.outputs if makes(each, task)],
        out=os.fsencode(out),
        folders=[os.fsencode(each) for each in (out, *_output_folders(workload, out))],
    )


def _output(output: WorkloadOutput) -> bytes:
    return outputs.encode(
        outputs.Output(
            output.name,
            [os.fsencode(path) for path in output.paths],
            output.always,
            output.optional,
            output.interval.ToTimedelta().total_seconds(),
        )
    )


def _output_folders(workload: Workload, out: Path) -> list[Path]:
    """Those that every task finds, so that one program does for all of them."""
    return [out / each.name for each in workload.outputs if not each.paths]


def _environment(
    workload: Workload,
    group: WorkloadGroup,
    task: TaskKey,
    secrets: Mapping[str, bytes],
    host: Host,
    gpus: Sequence[str],
    cwd: str,
) -> dict[bytes, bytes]:
    """The server's own environment, less its settings; the spec's; the secrets; the platform's."""
    inherited = {
        name: value
        for name, value in os.environb.items()
        if not name.startswith(b"SUBGRPC_") and os.fsdecode(name) not in _NOT_INHERITED
    }
    # Output goes to a file: without this, Python would show it in blocks of 8 KiB.
    inherited.setdefault(b"PYTHONUNBUFFERED", b"1")
    platform = {
        "PWD": cwd,
        "SUBGRPC_EXPERIMENT": workload.experiment_name,
        "SUBGRPC_ATTEMPT": str(workload.attempt),
        "SUBGRPC_ROLE": task.role,
        "SUBGRPC_INDEX": str(task.index),
        "SUBGRPC_REPLICAS": str(group.replicas),
        "SUBGRPC_TASK_UID": task_uid(workload, task),
    }
    if host.gpus:
        platform["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        platform["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    return {
        **inherited,
        **{name.encode(): value.encode() for name, value in group.env.items()},
        **{name.encode(): secrets[key] for name, key in group.secret_env.items()},
        **{name.encode(): os.fsencode(value) for name, value in platform.items()},
    }


@dataclass(frozen=True, slots=True)
class Launcher:
    """Starts supervisors.

    Attributes:
        command: the interpreter with its options and the agent, up to the task's folder.
    """

    command: tuple[str, ...]

    @classmethod
    def create(cls, data_dir: Path) -> Launcher:
        """Sees to it that the agent's bytecode exists: compiling it would cost 40 ms a task."""
        options = ["-I", "-S"]
        compiled = compileall.compile_dir(_AGENT, quiet=2, maxlevels=0)
        sources = _AGENT.glob("*.py")
        if not compiled or not all(os.path.exists(cache_from_source(str(f))) for f in sources):
            # Installed where we may not write: the interpreter keeps it in our folder.
            options += ["-X", f"pycache_prefix={data_dir / 'pycache'}"]
        return cls((sys.executable, *options, "-c", _BOOT, str(_AGENT.parent)))

    def launch(self, folder: Path, task: request.Request) -> subprocess.Popen[bytes] | None:
        """Starts the supervisor of a task; None if the task has had one already. Blocks for ms.

        Raises:
            OSError: the process cannot be started.
        """
        lock = os.open(folder / status.LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (folder / status.CLAIM).exists():
                return None
            (folder / WORK).mkdir(exist_ok=True)
            faults.point("local.locked")
            spawned = self._spawn(folder, task, lock)
            faults.point("local.spawned")
            return spawned
        except BlockingIOError:
            return None
        finally:
            os.close(lock)

    def _spawn(self, folder: Path, task: request.Request, lock: int) -> subprocess.Popen[bytes]:
        """Starts a process that holds the lock and has nothing else of ours, secrets neither."""
        env = faults.environment()
        if library_path := os.environ.get("LD_LIBRARY_PATH"):
            env["LD_LIBRARY_PATH"] = library_path
        order = os.memfd_create("request", os.MFD_CLOEXEC)
        with open(order, "wb") as stdin, open(folder / AGENT_LOG, "ab") as stderr:
            stdin.write(request.encode(task))
            stdin.seek(0)
            return subprocess.Popen(
                [*self.command, str(folder), str(lock)],
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                cwd="/",
                env=env,
                pass_fds=(lock,),
                start_new_session=True,
            )
