"""Starts servers for the crash tests: a process that has imported everything forks one for each.

    python -m tests.crash.serve [MUTANT]

Lines of JSON: `{"data": …, "port": …, …}` on stdin starts a server; on stdout stands what became
of it: `{"started": PID}`, `{"ready": PID}`, `{"exited": PID, "status": N}`. gRPC is imported here,
but not in use, before the fork: a server costs a tenth of a second and not a whole one.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

from subgrpc import faults, names
from subgrpc.config import ClusterSettings, ServerConfig
from subgrpc.driver.local import plugin as _loaded  # noqa: F401 - before the fork
from subgrpc.metastore import lock
from subgrpc.rpc.logging import configure_logging
from subgrpc.rpc.server import Server, run

from .mutants import MUTANTS


def main() -> None:
    """Serves until stdin ends; then no server is left."""
    for name in sys.argv[1:]:
        MUTANTS[name].apply()
    children: dict[int, int] = {}
    commands = open(0, "rb", buffering=0)  # noqa: SIM115 - for good
    while True:
        ready, _, _ = select.select([commands, *children], [], [])
        for handle in [each for each in ready if each in children]:
            pid = children.pop(handle)
            os.close(handle)
            _tell(exited=pid, status=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        if commands in ready:
            line = commands.readline()
            if not line:
                break
            pid = os.fork()
            if pid == 0:
                _serve(json.loads(line))
            children[os.pidfd_open(pid)] = pid
            _tell(started=pid)
    for handle in children:
        signal.pidfd_send_signal(handle, signal.SIGKILL)


def _serve(given: dict[str, Any]) -> None:
    """Runs a server in the forked process; never returns."""
    code = 1
    try:
        os.setsid()
        log = os.open(given["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        told = os.dup(1)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        names._random.seed()  # it has copied the state of the process that forked it
        faults.arm(given["plan"])
        if given.get("break_lock"):
            lock.fcntl = _NoLock  # type: ignore[assignment]
        configure_logging("info")
        run(_config(given), lambda server: _ready(server, told))
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


class _NoLock:
    """Two servers on one data folder, as if an operator had removed the lock of a stopped one."""

    LOCK_EX = LOCK_NB = 0

    @staticmethod
    def flock(_file: int, _operation: int) -> None:
        """Grants it."""


def _config(given: dict[str, Any]) -> ServerConfig:
    cluster = ClusterSettings("local", {"cpu": given["cpu"], "memory": "64Gi", "gpus": "0"})
    other = {"database": given["database"], "artifacts": _store(given)} if given["database"] else {}
    return ServerConfig(
        data_dir=Path(given["data"]),
        listen=(f"127.0.0.1:{given['port']}",),
        clusters=dict.fromkeys(given["clusters"], cluster),
        heartbeat=0.5,
        feed_size=200,
        drain=2.0,
        # Logs of what has ended go from the disk at once, and readers fetch them back.
        log_cache=0,
        **other,
    )


def _store(given: dict[str, Any]) -> str:
    """The artifact store of servers that share a database: beside their folders."""
    folder = Path(given["data"]).parents[1] / "store"
    folder.mkdir(exist_ok=True)
    return folder.as_uri()


def _ready(_server: Server, told: int) -> None:
    os.write(told, json.dumps({"ready": os.getpid()}).encode() + b"\n")


def _tell(**facts: int) -> None:
    os.write(1, json.dumps(facts).encode() + b"\n")


if __name__ == "__main__":
    main()
