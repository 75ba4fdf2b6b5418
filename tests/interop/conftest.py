"""Foreign clients, and a server started as a user starts it.

A tool that is not installed skips its tests with the reason; where it has to be there, as in CI,
SUBGRPC_TESTS_REQUIRE=go,grpcurl turns that into a failure.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "interop"
READY_SECONDS = 15
MODULE = "github.com/subgrpc/subgrpc"


def missing(tool: str, hint: str) -> None:
    """Skips the test for want of a tool, or fails it where the tool is required."""
    message = f"{tool} is not installed: {hint}"
    if tool in os.environ.get("SUBGRPC_TESTS_REQUIRE", "").split(","):
        pytest.fail(message)
    pytest.skip(message)


def free_address() -> str:
    """A loopback address that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


def answers(address: str, server: subprocess.Popen[bytes]) -> bool:
    """Whether the server takes connections before it ends or the time is over."""
    deadline = time.monotonic() + READY_SECONDS
    with grpc.insecure_channel(address) as channel:
        ready = grpc.channel_ready_future(channel)
        while server.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(grpc.FutureTimeoutError):
                ready.result(timeout=0.1)
                return True
    return False


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that `subgrpc up` runs, on a data folder of its own."""
    folder = tmp_path_factory.mktemp("server")
    address = free_address()
    command = [str(Path(sys.executable).with_name("subgrpc")), "up", "--listen", address]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--data-dir", str(folder / "data")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        if not answers(address, server):
            pytest.fail(f"the server did not come up:\n{(folder / 'log').read_text()}")
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=15)


@pytest.fixture(scope="session")
def grpcurl() -> str:
    """The path of grpcurl."""
    folders = f"{os.environ.get('TOOLS_PATH', '')}{os.pathsep}{os.environ['PATH']}"
    found = shutil.which("grpcurl", path=folders)
    if found is None:
        missing("grpcurl", "tests/testbeds/tools/up builds it and prints TOOLS_PATH")
    assert found is not None
    return found


@pytest.fixture(scope="session")
def go_client() -> Path:
    """The Go client of tests/interop/go, compiled with code generated from the protos."""
    if shutil.which("go") is None:
        missing("go", "the Go client is generated and compiled by this test")
    folder = BUILD / "go"
    shutil.rmtree(folder / "gen", ignore_errors=True)
    shutil.copytree(Path(__file__).parent / "go", folder, dirs_exist_ok=True)
    environment = os.environ | {"GOBIN": str(folder / "bin"), "GOFLAGS": "-buildvcs=false"}

    def run(*command: str, cwd: Path) -> None:
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"

    run("go", "install", "tool", cwd=folder)  # the generators, at the versions of go.mod
    run(sys.executable, "tools/generate.py", "--third-party", cwd=ROOT)
    protos = sorted(str(each.relative_to(ROOT / "proto")) for each in ROOT.glob("proto/**/*.proto"))
    outputs = [
        option
        for name in ("go", "go-grpc")
        for option in (
            f"--plugin=protoc-gen-{name}={folder}/bin/protoc-gen-{name}",
            f"--{name}_out={folder}",
            f"--{name}_opt=module={MODULE}",
        )
    ]
    protoc = (sys.executable, "-m", "grpc_tools.protoc", "-Iproto", "-Ibuild/protos")
    run(*protoc, *outputs, *protos, cwd=ROOT)
    run("go", "build", "-o", "bin/client", ".", cwd=folder)
    return folder / "bin" / "client"
