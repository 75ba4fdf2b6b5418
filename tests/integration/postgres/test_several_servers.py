"""Several servers as processes, each with a data folder of its own, on one PostgreSQL."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from subgrpc.v1 import experiment_service_pb2 as pb
from subgrpc.v1.experiment_service_pb2_grpc import ExperimentServiceStub

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(180)]

BIN = Path(sys.executable).parent
DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "operations.md"
PROGRAM = """
import os, sys, time
lines, count, pause, go = 0, int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
while lines < count:
    for _ in range(50):
        os.write(1, b"%08d \\xe2\\x82\\xac out\\n" % lines)
        if not lines % 3:
            os.write(2, b"%08d err\\n" % lines)
        lines += 1
    time.sleep(pause)
while go and not os.path.exists(go):
    time.sleep(0.05)
"""


def expected(count: int) -> dict[int, bytes]:
    """What the program writes, by stream."""
    return {
        1: b"".join(b"%08d \xe2\x82\xac out\n" % line for line in range(count)),
        2: b"".join(b"%08d err\n" % line for line in range(0, count, 3)),
    }


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def until(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Polls until something is true; returns it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return found


class Servers:
    """Servers that lead `local` in turn, with a short lease."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("SUBGRPC_")}
        self.env |= {"PATH": f"{BIN}:{self.env['PATH']}", "SUBGRPC_DATABASE": database}
        self.env["XDG_CONFIG_HOME"] = str(folder / "config")
        self.ports: dict[str, int] = {}
        self.pids: dict[str, int] = {}

    def run(self, *words: str) -> str:
        done = subprocess.run(
            ["subgrpc", *words], env=self.env, cwd=self.folder, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def up(self, name: str) -> None:
        port = self.ports.setdefault(name, free_port())
        told = self.run(
            *("up", "--detach", "--data-dir", name, "--listen", f"127.0.0.1:{port}"),
            *("--local", f"folder={self.folder / 'runs'}", "--local", "cpu=8"),
            *("--lease-length", "2", "-o", "json"),
        )
        self.pids[name] = json.loads(told)["pid"]

    def signal(self, name: str, number: int) -> None:
        os.kill(self.pids[name], number)

    def create(self, name: str, at: str, count: int, pause: float, go: str = "") -> None:
        self.run(
            *("run", "--detach", "--address", f"127.0.0.1:{self.ports[at]}", "--name", name, "--"),
            *(sys.executable, "-c", PROGRAM, str(count), str(pause), go),
        )

    def leads(self, name: str) -> bool:
        """Whether a server has taken the cluster over, by what it logs."""
        log = (self.folder / name / "server.log").read_text()
        return "journal.taken" in log

    def close(self) -> None:
        for name, pid in self.pids.items():
            if os.path.exists(f"/proc/{pid}"):
                os.kill(pid, signal.SIGCONT)
            self.run("down", "--data-dir", name)


@pytest.fixture
def servers(tmp_path: Path, databases: Any) -> Iterator[Servers]:
    made = Servers(tmp_path, databases.of(tmp_path))
    yield made
    made.close()


class Follower:
    """A client of the raw API: goes on by token, at this server or the next, while UNAVAILABLE."""

    def __init__(self, ports: list[int], name: str, **fields: Any) -> None:
        self.ports = ports
        self.request = pb.StreamLogsRequest(name=f"teams/default/experiments/{name}", **fields)
        self.output: dict[int, bytes] = {1: b"", 2: b""}
        self.next: dict[int, int] = {}
        self.breaks = 0
        self.end: int | None = None

    def follow(self) -> Follower:
        deadline = time.monotonic() + 90
        while self.end is None:
            port = self.ports[self.breaks % len(self.ports)]
            try:
                self._once(port)
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNAVAILABLE, error  # noqa: PT017
                assert time.monotonic() < deadline, error  # noqa: PT017
                self.breaks += 1
                time.sleep(0.1)
        return self

    def _once(self, port: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
            for frame in ExperimentServiceStub(channel).StreamLogs(self.request, timeout=90):
                self.request.resume_token = frame.resume_token
                assert not frame.HasField("gap"), frame
                if frame.HasField("end"):
                    self.end = frame.end.state
                if frame.HasField("chunk"):
                    self._take(frame.chunk)

    def _take(self, chunk: pb.LogChunk) -> None:
        data = chunk.data or chunk.text.encode()
        assert chunk.offset == self.next.get(chunk.stream, 0), "a hole, or output that came twice"
        self.next[chunk.stream] = chunk.offset + len(data)
        self.output[chunk.stream] += data


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_followers_go_on_when_the_server_that_keeps_the_output_is_gone(
    servers: Servers, threads: ThreadPoolExecutor, number: int, tmp_path: Path
) -> None:
    """At once or in turns, in either format: the lease moves, and not a byte is lost or doubled."""
    servers.up("a")
    servers.up("b")
    servers.create("x", "a", 20_000, 0.01, str(tmp_path / "go"))
    ports = [servers.ports["a"], servers.ports["b"]]
    made = [
        Follower(ports[1:], "x", follow=True, format=pb.LOG_FORMAT_BYTES),
        Follower(ports[1:], "x", follow=True, format=pb.LOG_FORMAT_TEXT),
        Follower(ports[1:], "x", follow=True, format=pb.LOG_FORMAT_BYTES, stream=1),
    ]
    # Of a server that is only stopped the connections stay: it goes on itself once it is woken up.
    last = ports if number == signal.SIGKILL else ports[:1]
    made.append(Follower(last, "x", follow=True, format=pb.LOG_FORMAT_BYTES))
    running: list[Future[Follower]] = [threads.submit(each.follow) for each in made]
    until(lambda: all(len(each.output[1]) > 30_000 for each in made), "all follow")
    servers.signal("a", number)
    until(lambda: servers.leads("b"), "the lease moves")
    (tmp_path / "go").touch()
    wanted = expected(20_000)
    for each in running[:-1]:
        each.result(timeout=100)
    if number == signal.SIGSTOP:
        servers.signal("a", signal.SIGCONT)
    for each in running:
        follower = each.result(timeout=100)
        assert follower.end == pb.EXPERIMENT_STATE_SUCCEEDED
        assert follower.output[1] == wanted[1]
        assert follower.output[2] == (b"" if follower.request.stream else wanted[2])
    again = Follower(last[-1:], "x", follow=True, format=pb.LOG_FORMAT_BYTES).follow()
    assert again.output == wanted


def test_output_stays_with_the_server_that_collected_it(servers: Servers) -> None:
    """Unavailable while that one is down, by its name; whole once it is back."""
    servers.up("a")
    servers.up("b")
    servers.create("x", "a", 1000, 0, "")
    wanted = expected(1000)
    port = servers.ports["b"]
    assert Follower([port], "x", follow=True, format=pb.LOG_FORMAT_BYTES).follow().output == wanted
    servers.signal("a", signal.SIGKILL)
    stub = ExperimentServiceStub(grpc.insecure_channel(f"127.0.0.1:{port}"))
    request = pb.StreamLogsRequest(name="teams/default/experiments/x")
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.StreamLogs(request))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert f"127.0.0.1:{servers.ports['a']}" in caught.value.details()
    servers.up("a")
    tail = Follower([port], "x", tail_lines=3, stream=1, format=pb.LOG_FORMAT_BYTES)
    tail.next[1] = len(wanted[1]) - 3 * 17
    assert tail.follow().output[1] == wanted[1][-3 * 17 :]
    assert Follower([port], "x", format=pb.LOG_FORMAT_BYTES).follow().output == wanted


def test_the_documented_tour_works(tmp_path: Path, databases: Any) -> None:
    """As it stands there, but for the ports and the database, which others may use here."""
    section = DOCUMENT.read_text().partition("## Several servers\n")[2].partition("\n## ")[0]
    script = "".join(re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL))
    given = "$(tests/testbeds/postgres/up | sed -n s/^POSTGRES_URL=//p)"
    assert given in script
    script = script.replace(given, databases.of(tmp_path))
    for port in ("7421", "7422"):
        script = script.replace(port, str(free_port()))
    env = {k: v for k, v in os.environ.items() if not k.startswith("SUBGRPC_")}
    env |= {"PATH": f"{BIN}:{env['PATH']}", "XDG_CONFIG_HOME": str(tmp_path / "config")}
    done = subprocess.run(
        ["bash", "-c", f"set -eu -o pipefail\n{script}"],
        env=env, cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "nothing lost, nothing doubled\n" in done.stdout
    assert "connected again" in done.stderr
    assert "SUCCEEDED" in done.stdout
