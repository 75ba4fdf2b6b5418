"""Servers and the installed `subgrpc` command, as a user has them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from subgrpc.cli.main import run

BIN = Path(sys.executable).parent


def until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Polls until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


class Cli:
    """The command with one data folder and, once a server is up, its address."""

    def __init__(self, folder: Path, databases: Any) -> None:
        self.folder = folder
        self.data = folder / "data"
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("SUBGRPC_")}
        self.env |= {"PATH": path, "SUBGRPC_DATA_DIR": str(self.data)}
        self.env["SUBGRPC_DATABASE"] = databases.of(self.data)
        self.env["XDG_CONFIG_HOME"] = str(folder / "config")

    def start(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Starts a command in the background."""
        return subprocess.Popen(
            [BIN / "subgrpc", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Unbuffered: `communicate` reads behind what `readline` had buffered.
            **{"env": self.env, "cwd": self.folder, "bufsize": 0, **options},
        )

    def __call__(
        self, *words: str, code: int | None = None, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs a command to its end; `code` is what it must return."""
        done = subprocess.run(
            [BIN / "subgrpc", *words],
            timeout=45,
            check=False,
            **{"env": self.env, "capture_output": True, "cwd": self.folder, **options},
        )
        told = (done.stderr or b"").decode(errors="replace")
        assert "Traceback" not in told, told
        assert code in (None, done.returncode), f"{words}: {done.returncode}\n{told}"
        return done

    def json(self, *words: str) -> Any:
        """What a command prints as JSON."""
        return json.loads(self(*words, "-o", "json", code=0).stdout)

    def up(self, *words: str, port: int = 0) -> None:
        """Starts a server and talks to it from now on."""
        told = self.json("up", "--detach", "--listen", f"127.0.0.1:{port}", *words)
        self.env["SUBGRPC_ADDRESS"] = told["addresses"][0]
        self.pid: int = told["pid"]

    @property
    def port(self) -> int:
        """The server's port."""
        return int(self.env["SUBGRPC_ADDRESS"].rpartition(":")[2])

    def kill(self) -> None:
        """Ends the server without any warning."""
        os.kill(self.pid, signal.SIGKILL)
        until(self.dead, "killed")

    def dead(self) -> bool:
        """Whether the server has ended."""
        return not os.path.exists(f"/proc/{self.pid}/cmdline") or self._dead()

    def _dead(self) -> bool:
        with open(f"/proc/{self.pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"

    def state(self, name: str) -> str:
        """An experiment's state; empty if there is none."""
        done = self("get", name, "-o", "json")
        if done.returncode:
            return ""
        found: str = json.loads(done.stdout)["state"]
        return found.removeprefix("EXPERIMENT_STATE_")

    def reaches(self, name: str, state: str) -> None:
        """Waits for a state."""
        until(lambda: self.state(name) == state, f"{name} {state}")

    def close(self) -> None:
        """Ends what is left."""
        if "SUBGRPC_ADDRESS" in self.env and self("status").returncode == 0:
            active = "state = QUEUED OR state = STARTING OR state = RUNNING OR state = CANCELLING"
            self("delete", "--force", "--yes", "--filter", active)
        self("down")
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, session_databases: Any) -> Iterator[Cli]:
    """One server for the tests that do it no harm."""
    made = Cli(tmp_path_factory.mktemp("shared"), session_databases)
    made.up("--local", "cpu=64", "--local", "memory=64Gi")
    yield made
    made.close()


Here = Callable[..., bytes]


@pytest.fixture
def here(
    shared: Cli, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Here:
    """Runs a command of the shared server in this process, where many are needed: stdout."""
    for key, value in shared.env.items():
        monkeypatch.setenv(key, value)

    def command(*words: str, code: int = 0) -> bytes:
        returned = run(words)
        told = capsysbinary.readouterr()
        assert returned == code, told.err
        return told.out

    return command


@pytest.fixture
def own(tmp_path: Path, databases: Any) -> Iterator[Cli]:
    """The command with a data folder of its own; the test starts the server."""
    made = Cli(tmp_path, databases)
    yield made
    made.close()
