"""Who is compared: how each is started, as its own documentation starts it on one machine."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.burst import ROOM
from benchmarks.processes import python

HOST = "127.0.0.1"

Command = Callable[[str, Path, int], list[str]]
"""Makes a command line of the folder of a peer's programs, a folder for its data, and a port."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One that runs the jobs.

    Attributes:
        name: of its virtual environment; empty: it runs in ours.
        title: as people know it.
        client: module of `benchmarks.peers.clients`.
        beside: the client of subgrpc whose jobs stand beside this peer's.
        server: command that serves.
        worker: command that takes jobs, where that is another one.
        environment: telemetry off, data in its folder; {folder} and {address} are replaced.
        creates: it makes records that nothing runs, which is acknowledged by itself.
    """

    name: str
    title: str
    client: str
    server: Command
    beside: str = "subgrpc"
    worker: Command | None = None
    environment: dict[str, str] = field(default_factory=dict)
    creates: bool = False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as each:
        each.bind((HOST, 0))
        return int(each.getsockname()[1])


def subgrpc(client: str) -> Peer:
    """What `subgrpc up` starts, without a limit on how many jobs run at once, as for the peers."""
    return Peer("", "subgrpc", client, _subgrpc)


def _subgrpc(_: str, folder: Path, port: int) -> list[str]:
    where = ("--data-dir", folder / "data", "--listen", f"{HOST}:{port}")
    return python("subgrpc.cli.main", "up", *where, *ROOM)


def _mlflow(programs: str, _: Path, port: int) -> list[str]:
    return [f"{programs}/mlflow", "server", "--host", HOST, "--port", str(port)]


def _ray(programs: str, folder: Path, port: int) -> list[str]:
    ports = {
        "port": free_port(),
        "ray-client-server-port": free_port(),
        "dashboard-port": port,
        "dashboard-agent-listen-port": free_port(),
    }
    return [
        *(f"{programs}/ray", "start", "--head", "--block", "--disable-usage-stats"),
        *("--node-ip-address", HOST, "--dashboard-host", HOST, "--temp-dir", str(folder)),
        *(f"--{name}={number}" for name, number in ports.items()),
    ]


def _prefect(programs: str, _: Path, port: int) -> list[str]:
    return [f"{programs}/prefect", "server", "start", "--host", HOST, "--port", str(port)]


def _prefect_worker(programs: str, _: Path, __: int) -> list[str]:
    return [f"{programs}/prefect", "worker", "start", "--pool", "bench", "--type", "process"]


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            *("mlflow", "MLflow", "mlflow", _mlflow),
            environment={
                "MLFLOW_TRACKING_URI": "http://{address}",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "DO_NOT_TRACK": "true",
            },
            creates=True,
        ),
        Peer("ray", "Ray Jobs", "ray", _ray, environment={"RAY_USAGE_STATS_ENABLED": "0"}),
        Peer(
            *("prefect", "Prefect", "prefect", _prefect),
            beside="subgrpc_python",
            worker=_prefect_worker,
            environment={
                "PREFECT_HOME": "{folder}",
                "PREFECT_API_URL": "http://{address}/api",
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "DO_NOT_TRACK": "1",
            },
        ),
    )
}


def programs(python: Path | None) -> str:
    """The folder of the programs that were installed with an interpreter; None: ours."""
    return str((python or Path(sys.executable)).parent)
