"""A burst of experiments that do nothing, per second, against bare supervisors of the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc

from benchmarks.messages import TEAM, program
from benchmarks.processes import folder
from benchmarks.report import Figure, Goal, Options
from benchmarks.servers import local
from subgrpc.agent.request import Request
from subgrpc.driver.local.launch import Launcher
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2_grpc import ExperimentServiceStub

COUNT, QUICK_COUNT = 500, 100
THREADS = 4
"""As many as the local driver starts supervisors with."""
SECONDS = 120.0
ROOM = ("--local", "cpu=10000", "--local", "memory=64Ti")
"""Nothing has to wait for its turn: the machine itself is the limit, as for bare supervisors."""
_STATES = api.ExperimentState


def measure(options: Options) -> list[Figure]:
    """Runs it, in turns with bare supervisors."""
    count = QUICK_COUNT if options.quick else COUNT
    figure = Figure(
        f"burst of {count}",
        "experiments/s",
        [],
        "bare supervisors",
        goal=Goal("ratio", 0.5, at_least=True),
        note="none failed",
    )
    with ExitStack() as stack:
        here = stack.enter_context(folder())
        server = stack.enter_context(local(here, *ROOM))
        stub = ExperimentServiceStub(stack.enter_context(grpc.insecure_channel(server.address)))
        for number in range(options.rounds(3, quick=2)):
            figure.limits.append(count / _supervise(here / "bare", count))
            figure.values.append(count / _run(stub, f"r{number}", count))
    return [figure]


def _supervise(here: Path, count: int) -> float:
    """Seconds that bare supervisors take, started as the local driver starts them."""
    launcher = Launcher.create(here)
    request = Request([b"true"], dict(os.environb), b"/")

    def start(number: int) -> None:
        task = here / str(number)
        task.mkdir(parents=True)
        child = launcher.launch(task, request)
        assert child is not None
        children.append(child)

    children: list[subprocess.Popen[bytes]] = []
    begin = time.monotonic()
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(start, range(count)))
    for child in children:
        child.wait(SECONDS)
    taken = time.monotonic() - begin
    shutil.rmtree(here)
    return taken


def _run(stub: ExperimentServiceStub, name: str, count: int) -> float:
    """Seconds until all experiments of a burst have succeeded, as a watcher sees it."""
    given = f'labels.burst = "{name}"'
    watch = stub.WatchExperiments(
        api.WatchExperimentsRequest(parent=TEAM, filter=given), timeout=SECONDS
    )
    next(watch)
    request = program("true")
    request.experiment.labels["burst"] = name
    begin = time.monotonic()
    calls = [stub.CreateExperiment.future(request, timeout=SECONDS) for _ in range(count)]
    left = count
    while left:
        change = next(watch).change.experiment
        if change.state == _STATES.EXPERIMENT_STATE_SUCCEEDED:
            left -= 1
        elif change.state == _STATES.EXPERIMENT_STATE_FAILED:
            raise RuntimeError(f"{change.name} failed: {change.reason}: {change.message}")
    taken = time.monotonic() - begin
    for call in calls:
        call.result()
    watch.cancel()
    return taken
