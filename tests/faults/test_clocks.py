"""Wall clocks that jump by an hour, forward and back, under a server that runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

import pytest

from subgrpc.client import Client
from subgrpc.v1.experiment_service_pb2 import Experiment, WatchExperimentsResponse
from tests.e2e.conftest import Cli, until

LIBRARIES = "*/faketime/libfaketimeMT.so.1"
HOUR = 3600
COUNT = "import time\nfor n in range(60):\n    print(n, flush=True); time.sleep(0.1)"


class Clock:
    """The wall clock of the servers that `cli` starts."""

    def __init__(self, cli: Cli, library: Path) -> None:
        self._file = cli.folder / "clock"
        self.jump("+0")
        cli.env |= {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            # One of a machine never jumps.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        cli.up("--local", "cpu=1", "--local", "memory=1Gi")
        for name in [each for each in cli.env if each.startswith(("LD_P", "FAKE", "DONT"))]:
            del cli.env[name]

    def jump(self, offset: str) -> None:
        """Sets it so far from the true time, such as `-1h`."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset}\n")
        fresh.rename(self._file)


@pytest.fixture
def clock(own: Cli) -> Clock:
    library = next(Path("/usr/lib").glob(LIBRARIES), None)
    if library is None:
        pytest.skip("needs libfaketime: Debian's package faketime")
    return Clock(own, library)


@pytest.fixture
def client(own: Cli, clock: Clock) -> Iterator[Client]:
    with Client(own.env["SUBGRPC_ADDRESS"]) as made:
        yield made


def created(own: Cli, name: str) -> float:
    """When the server says that an experiment was created, seconds from the true time."""
    text = own.json("get", name)["createTime"]
    moment = datetime.fromisoformat(text.partition(".")[0].rstrip("Z") + "+00:00")
    return moment.timestamp() - time.time()


def changed(frame: WatchExperimentsResponse) -> bool:
    return frame.HasField("change")


def test_waits_are_not_those_of_the_wall_clock(own: Cli, clock: Clock) -> None:
    """An hour that nobody waited ends no queue_timeout, and no hour is added to one."""
    own("run", "-d", "--name", "holder", "--cpu", "1", "--", "sleep", "600", code=0)
    own.reaches("holder", "RUNNING")
    spec = "name: {}\nqueue_timeout: {}\nresources: {{cpu: 1}}\ncommand: 'true'\n"
    (own.folder / "patient.yaml").write_text(spec.format("patient", "30m"))
    own("run", "-d", "patient.yaml", code=0)
    (own.folder / "hasty.yaml").write_text(spec.format("hasty", "4s"))
    until(lambda: "WaitingForResources" in own.json("get", "patient")["reason"], "waits")
    clock.jump("+1h")
    own("run", "-d", "--name", "later", "--", "true", code=0)
    assert HOUR - 60 < created(own, "later") < HOUR + 60, "the server's clock has jumped"
    own("run", "-d", "hasty.yaml", code=0)
    clock.jump("-1h")
    own.reaches("hasty", "FAILED")
    assert own.json("get", "hasty")["reason"] == "QueueTimeout"
    assert own.state("patient") == "QUEUED"
    clock.jump("+1h")
    # Its cluster is looked at again with every experiment that ends.
    own("cancel", "later", code=0)
    own.reaches("later", "CANCELLED")
    assert own.state("patient") == "QUEUED"
    own("cancel", "holder", code=0)
    own.reaches("patient", "SUCCEEDED")


def test_a_retry_comes_in_time(own: Cli, clock: Clock) -> None:
    """Though the clock is set back while it waits; the second attempt succeeds."""
    mark = own.folder / "mark"
    (own.folder / "spec.yaml").write_text(
        "name: again\nretry_policy: {max_retries: 1, initial_backoff: 3s}\n"
        f"command: if test -e '{mark}'; then echo second; else touch '{mark}'; exit 1; fi\n"
    )
    own("run", "-d", "spec.yaml", code=0)
    until(lambda: own.json("get", "again").get("attempt") == 1 and mark.exists(), "failed once")
    until(lambda: own.state("again") == "QUEUED", "it waits")
    clock.jump("-1h")
    own.reaches("again", "SUCCEEDED")
    assert own("logs", "-f", "again", code=0).stdout == b"second\n"


def test_histories_are_those_of_revisions(own: Cli, clock: Clock, client: Client) -> None:
    """A watch, one that resumes, pages, request ids: nothing is lost or doubled by a jump.

    What is created after a jump back is older by its time and its uid, and yet comes last.
    """
    names: list[str] = []
    watch = client.watch()
    assert not changed(next(watch)), "the end of the initial state, which is empty"
    spec = Experiment()
    spec.spec.task_groups.add(role="main", args=[sys.executable, "-c", "print('x' * 9)"])
    token = ""
    for turn, offset in enumerate(("+0", "+1h", "-1h", "+0", "-1h", "+1h")):
        clock.jump(offset)
        for number in range(3):
            name = f"e-{turn}-{number}"
            made = client.create_experiment(spec, experiment_id=name, request_id=name)
            names.append(made.name)
    first = dict.fromkeys(names, "")
    clock.jump("+1h")
    for name in names:  # a repeat is known, whatever the time
        key = name.rpartition("/")[2]
        again = client.create_experiment(spec, experiment_id=key, request_id=key)
        first[name] = again.uid
        own.reaches(key, "SUCCEEDED")
    seen: dict[str, list[int]] = {}
    order: list[str] = []
    for frame in watch:
        if not frame.HasField("change"):
            continue
        name, state = frame.change.experiment.name, frame.change.experiment.state
        if name not in seen:
            order.append(name)
            token = token or watch.resume_token
        seen.setdefault(name, []).append(state)
        if len(seen) == len(names) and all(states[-1] == 5 for states in seen.values()):
            break
    assert order == names
    assert all(states == sorted(states) for states in seen.values())
    watch.close()
    resumed = client.watch(resume_token=token)
    count = sum(map(len, seen.values())) - 1
    rest = [each.change.experiment.name for each in islice(filter(changed, resumed), count)]
    resumed.close()
    assert set(rest) == set(names)
    for by in ("", "create_time", "experiment_id"):
        pages = client.list_experiments(order_by=by, page_size=2)
        assert sorted(each.name for each in pages) == sorted(names)
    snapshot = client.watch()
    found = islice(filter(changed, snapshot), len(names))
    assert {each.change.experiment.uid for each in found} == set(first.values())
    snapshot.close()


def test_leases_streams_and_records_outlive_a_jump(own: Cli, clock: Clock) -> None:
    """A task that runs, its follower and its timeout do not notice; no span is negative."""
    # The library is for the server: it makes Python fail to sleep.
    alone = ("env", "-u", "LD_PRELOAD", sys.executable, "-c", COUNT)
    own("run", "-d", "--name", "long", "--", *alone, code=0)
    own("run", "-d", "--name", "limited", "--timeout", "5s", "--", "sleep", "600", code=0)
    follower = own.start("logs", "-f", "long")
    assert follower.stdout is not None
    first = follower.stdout.readline()
    for offset in ("+1h", "-1h", "+1h", "-1h"):
        clock.jump(offset)
        time.sleep(0.5)
        assert own.json("clusters", "local")["clusters"][0]["health"] == "CLUSTER_HEALTH_HEALTHY"
    out, told = follower.communicate(timeout=40)
    assert follower.returncode == 0, told
    assert first + out == b"".join(b"%d\n" % n for n in range(60))
    own.reaches("limited", "FAILED")
    assert own.json("get", "limited")["reason"] == "Timeout"
    assert b"-" not in own("list", code=0).stdout.split(b"TOOK")[0]
    own("admin", "check", code=0)
