"""A network between clients and the server that cuts, delays, trickles and swallows (toxiproxy)."""

from __future__ import annotations

import json
import random
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from subgrpc.client import Client
from subgrpc.errors import Unavailable
from subgrpc.v1.experiment_service_pb2 import Experiment
from tests.e2e.conftest import Cli, until
from tests.integration.postgres.conftest import Toxiproxy, Way, toxiproxy

__all__ = ["toxiproxy"]

NOTICED = 60.0
"""Seconds within which a stream notices that its connection died without a word: docs/sdk.md."""
LINES = 4000


class Road(Way):
    """The way from clients to the server of a `Cli`."""

    def __init__(self, toxiproxy: Toxiproxy, cli: Cli) -> None:
        super().__init__(toxiproxy, f"tcp://road@{cli.env['SUBGRPC_ADDRESS']}")
        self.address = self.url.rpartition("@")[2]
        self.env = cli.env | {"SUBGRPC_ADDRESS": self.address}


@pytest.fixture
def road(own: Cli, toxiproxy: Toxiproxy) -> Iterator[Road]:
    own.up("--local", "cpu=100", "--local", "memory=100Gi")
    made = Road(toxiproxy, own)
    yield made
    made.heal()
    made.enable(True)


class Resets(threading.Thread):
    """Ends every connection once so many random bytes have passed, again and again."""

    def __init__(self, road: Road, seed: int) -> None:
        super().__init__()
        self._road = road
        self._random = random.Random(seed)
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._over.is_set():
            for stream in ("downstream", "upstream"):
                count = self._random.randrange(200, 20_000)
                self._road.poison("limit_data", stream, bytes=count)
            self._over.wait(self._random.uniform(0.2, 0.6))
            self._road.heal()
            # A connection of before has its limit until it ends.
            if self._random.random() < 0.5:
                self._road.poison("reset_peer", timeout=0)
                self._over.wait(0.05)
                self._road.heal()
            self._over.wait(self._random.uniform(0.1, 0.3))

    def stop(self) -> None:
        self._over.set()
        self.join()
        self._road.heal()


def printing(count: int, pause: float) -> list[str]:
    """A command that prints numbered lines of 100 bytes in portions of 20."""
    script = (
        f"import sys, time\nfor n in range({count}):\n    print('%099d' % n)\n"
        f"    if n % 20 == 19: sys.stdout.flush(); time.sleep({pause})"
    )
    return [sys.executable, "-c", script]


def printed(count: int) -> bytes:
    """What it prints."""
    return b"".join(b"%099d\n" % n for n in range(count))


def spec() -> Experiment:
    made = Experiment()
    made.spec.task_groups.add(role="main", args=["true"])
    return made


def create_all(address: str, names: list[str], patience: float) -> list[str]:
    """Creates experiments, each again and again with its request id until it is acknowledged."""

    def create(name: str) -> str:
        deadline = time.monotonic() + patience
        with Client(address, timeout=10.0) as client:
            while True:
                try:
                    made = client.create_experiment(spec(), experiment_id=name, request_id=name)
                except Unavailable:
                    assert time.monotonic() < deadline, f"{name} is not acknowledged"
                else:
                    return made.uid

    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(create, names))


def watched(out: bytes) -> dict[str, list[str]]:
    """The states of each experiment, in order, as `watch -o json` printed them."""
    found: dict[str, list[str]] = {}
    for line in out.splitlines():
        made = json.loads(line)["experiment"]
        found.setdefault(made["name"].rpartition("/")[2], []).append(made["etag"])
    return found


def etags(own: Cli, filter_: str) -> dict[str, str]:
    """The last etag (revision) of each experiment."""
    found = own.json("list", "--filter", filter_)["experiments"]
    return {each["name"].rpartition("/")[2]: each["etag"] for each in found}


def all_at_once(own: Cli, road: Road) -> list[subprocess.Popen[bytes]]:
    """A run to its end, a follower, a watcher and one that waits, through the bad network."""
    command = printing(LINES, 0.05)
    run = own.start("run", "-q", "--name", "talker", "--", *command, env=road.env)
    own.reaches("talker", "RUNNING")
    waiter = own.start("wait", "talker", env=road.env)
    clients = [
        run,
        own.start("logs", "-f", "talker", env=road.env),
        own.start("watch", "talker", "-o", "json", env=road.env),
        waiter,
    ]
    # A first contact that fails is an error; whoever was connected goes on.
    for client in clients[:3]:
        assert select.select([client.stdout], [], [], 30)[0], client.args
    return clients


def finish(own: Cli, clients: list[subprocess.Popen[bytes]], seconds: float) -> bytes:
    """All end soon, with all that they have to tell, in order and once; what stderr said."""
    deadline = time.monotonic() + seconds
    told = [each.communicate(timeout=max(deadline - time.monotonic(), 1.0)) for each in clients]
    for each, (_, errors) in zip(clients, told, strict=True):
        assert each.returncode == 0, (each.args, errors)
    assert told[0][0] == printed(LINES)
    assert told[1][0] == printed(LINES)
    tags = [int(each, 16) for each in watched(told[2][0])["talker"]]
    assert tags == sorted(set(tags))
    assert f"{tags[-1]:x}" == etags(own, 'experiment_id = "talker"')["talker"]
    assert json.loads(told[2][0].splitlines()[-1])["experiment"]["state"].endswith("SUCCEEDED")
    return b"".join(errors for _, errors in told)


def test_connections_that_are_reset_lose_and_double_nothing(own: Cli, road: Road) -> None:
    """At random bytes, for as long as anything goes on."""
    clients = all_at_once(own, road)
    resets = Resets(road, 7)
    try:
        names = [f"e-{number}" for number in range(40)]
        uids = create_all(road.address, names, 60)
        assert len(set(uids)) == 40
        until(lambda: own.state("talker") == "SUCCEEDED", "the talker has ended", 40)
    finally:
        resets.stop()
    assert b"connected again" in finish(own, clients, 15)
    assert len(etags(own, 'experiment_id != "talker"')) == 40


def test_a_slow_network_is_slow_and_nothing_else(own: Cli, road: Road) -> None:
    """500 ms ± 300 ms each way."""
    clients = all_at_once(own, road)
    for stream in ("downstream", "upstream"):
        road.poison("latency", stream, latency=500, jitter=300)
    uids = create_all(road.address, [f"e-{number}" for number in range(8)], 60)
    assert len(set(uids)) == 8
    finish(own, clients, 50)


def test_a_thin_network_holds_up_nobody_else(own: Cli, road: Road) -> None:
    """10 kB/s: a follower is behind, others are not, and all of it comes when there is room."""
    road.poison("bandwidth", rate=10)
    clients = all_at_once(own, road)
    until(lambda: own.state("talker") == "SUCCEEDED", "it does not wait for its readers", 25)
    assert own("logs", "-f", "talker", code=0).stdout == printed(LINES)
    assert clients[1].poll() is None, "its 400 kB need 40 s"
    road.heal()
    finish(own, clients, 15)


@pytest.mark.timeout(120)
def test_a_black_hole_is_noticed_and_left(own: Cli, road: Road) -> None:
    """Nothing comes through and nobody is told: streams notice it, and calls end in time.

    The server and the task wait for nobody. Once the network is back, everything ends.
    """
    clients = all_at_once(own, road)
    until(lambda: len(own("logs", "talker").stdout) > 10_000, "it talks")
    with Client(road.address) as client:
        assert client.get_experiment("teams/default/experiments/talker").uid
        road.swallow()
        began = time.monotonic()
        with pytest.raises(Unavailable):
            client.create_experiment(spec(), experiment_id="swallowed", request_id="swallowed")
        assert time.monotonic() - began < NOTICED
        until(lambda: own.state("talker") == "SUCCEEDED", "it does not wait for its readers", 25)
        # Of those that do not wait for whoever reads their output.
        watcher = clients[2].stderr
        assert watcher is not None
        heard = ThreadPoolExecutor(1).submit(watcher.readline)
        assert b"trying again" in heard.result(NOTICED + 10 - (time.monotonic() - began))
        road.heal()
    first = create_all(road.address, ["swallowed"], 20)
    assert create_all(road.address, ["swallowed"], 20) == first
    finish(own, clients, 20)
    assert [*etags(own, 'experiment_id != "talker"')] == ["swallowed"]


@pytest.mark.timeout(100)
def test_a_connection_that_is_closed_one_way_is_left(own: Cli, road: Road) -> None:
    """The server's side is closed late and its last words are held back (half-open)."""
    clients = all_at_once(own, road)
    until(lambda: len(own("logs", "talker").stdout) > 10_000, "it talks")
    road.poison("slow_close", "downstream", delay=5000)
    road.poison("timeout", "upstream", timeout=500)
    until(lambda: own.state("talker") == "SUCCEEDED", "it does not wait for its readers", 25)
    road.heal()
    finish(own, clients, 30)
