"""How soon a server that was killed observes what runs, with a thousand tasks that run.

The server is killed and started again. At that moment some of the tasks are ended: the one that was
created last, which is looked at last, and others by chance. When a watcher has been told of all of
these ends, and the cluster is healthy, every run has been observed: its next change is seen.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc

from benchmarks.messages import TEAM, program
from benchmarks.processes import first_line, folder, running
from benchmarks.report import Figure, Goal, Options
from benchmarks.servers import local_command
from subgrpc.cli import serverfile
from subgrpc.v1 import cluster_service_pb2 as clusters
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.cluster_service_pb2_grpc import ClusterServiceStub
from subgrpc.v1.experiment_service_pb2_grpc import ExperimentServiceStub

COUNT, QUICK_COUNT = 1_000, 200
ENDED = 20
"""Tasks of which the end is waited for, in each round."""
SECONDS = 300.0
ROOM = ("--local", "cpu=100000", "--local", "memory=640Ti")
_RUNNING = api.EXPERIMENT_STATE_RUNNING
_ROUND = random.Random(1)


def measure(options: Options) -> list[Figure]:
    """Starts servers on a thousand tasks that run, in turns with servers on none."""
    count = QUICK_COUNT if options.quick else COUNT
    figure = Figure(
        f"{count:,} runs observed again",
        "s",
        [],
        "start without runs",
        goal=Goal("value", 5.0),
        note=f"{ENDED} of them end at the start: told to a watcher",
    )
    with folder() as here, _tasks(here / "full", count) as left:
        (here / "empty").mkdir()
        for _ in range(options.rounds(5, quick=2)):
            figure.limits.append(_start(here / "empty", ()))
            ended = [left.pop(), *(left.pop(_ROUND.randrange(len(left))) for _ in range(ENDED - 1))]
            figure.values.append(_start(here / "full", ended))
    return [figure]


@contextlib.contextmanager
def _tasks(here: Path, count: int) -> Iterator[list[str]]:
    """Starts tasks that sleep, and kills the server: the uids, in the order of creation."""
    here.mkdir()
    try:
        with _server(here) as address, grpc.insecure_channel(address) as channel:
            stub = ExperimentServiceStub(channel)
            watch = stub.WatchExperiments(api.WatchExperimentsRequest(parent=TEAM), timeout=SECONDS)
            next(watch)
            request = program("sleep", "3600")
            calls = [stub.CreateExperiment.future(request, timeout=SECONDS) for _ in range(count)]
            started: set[str] = set()
            while len(started) < count:
                change = next(watch).change.experiment
                if change.state == _RUNNING:
                    started.add(change.uid)
            made = [call.result().experiment for call in calls]
            watch.cancel()
        made.sort(key=lambda each: (each.create_time.ToNanoseconds(), each.uid))
        yield [each.uid for each in made]
    finally:
        _end_all(here, count)


@contextlib.contextmanager
def _server(here: Path) -> Iterator[str]:
    """A server that is killed at the end: its address."""
    log = here / "log"
    with running(local_command(here, *ROOM), log) as child:
        first_line(child, log)
        found = serverfile.read(here / "data")
        assert found is not None
        try:
            yield found.addresses[0]
        finally:
            child.kill()
            child.wait()


def _start(here: Path, ended: Sequence[str]) -> float:
    """Seconds from the start of a server until it has told of these ends and leads its cluster."""
    for uid in ended:
        _end_task(_status(here, uid))
    begin = time.monotonic()
    with _server(here) as address, grpc.insecure_channel(address) as channel:
        watch = ExperimentServiceStub(channel).WatchExperiments(
            api.WatchExperimentsRequest(parent=TEAM), timeout=SECONDS
        )
        left = set(ended)
        while left:
            change = next(watch).change.experiment
            if change.state == api.EXPERIMENT_STATE_FAILED:
                left.discard(change.uid)
        watch.cancel()
        cluster = ClusterServiceStub(channel)
        request = clusters.GetClusterRequest(name="clusters/local")
        while cluster.GetCluster(request).cluster.health != clusters.CLUSTER_HEALTH_HEALTHY:
            time.sleep(0.01)
        return time.monotonic() - begin


def _status(here: Path, uid: str) -> Path:
    """The status file of an experiment's only task."""
    return here / "data" / "drivers" / "local" / "runs" / uid / "1" / "main-0" / "status.json"


def _end_task(status: Path) -> None:
    """Ends a task's process, whose pid its supervisor has written down."""
    found = json.loads(status.read_bytes())
    if found["state"] == "running":
        os.kill(found["pid"], signal.SIGKILL)


def _end_all(here: Path, count: int) -> None:
    """Ends all tasks and waits until their supervisors have written that down."""
    deadline = time.monotonic() + SECONDS
    files = list((here / "data").glob("drivers/local/runs/*/1/main-0/status.json"))
    for status in files:
        _end_task(status)
    while any(json.loads(each.read_bytes())["state"] == "running" for each in files):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all of {count} tasks have ended")
        time.sleep(0.2)
    shutil.rmtree(here)
