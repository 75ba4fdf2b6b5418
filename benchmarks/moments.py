"""From create to the first line of user code, and from its end to a watcher who knows.

The program is `date +%s%N`: what it prints is when it ran, and it ends right there.
"""

from __future__ import annotations

import subprocess
import time
from typing import NamedTuple

import grpc

from benchmarks.messages import TEAM, name_of, program
from benchmarks.processes import folder
from benchmarks.report import Figure, Goal, Options
from benchmarks.servers import local
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2_grpc import ExperimentServiceStub

PROGRAM = ("date", "+%s%N")
SECONDS = 30.0
PAUSE = 0.05
"""Between two runs: what the server does after an experiment's end belongs to neither."""


class _Moments(NamedTuple):
    """Milliseconds from the start to the first line, and from there until the end was known."""

    first_line: float
    end_known: float


def measure(options: Options) -> list[Figure]:
    """Runs the program bare and as an experiment, in turns."""
    bare, ours = [], []
    with folder() as here, local(here) as server, grpc.insecure_channel(server.address) as channel:
        stub = ExperimentServiceStub(channel)
        for number in range(options.rounds(60, quick=15)):
            bare.append(_spawned())
            time.sleep(PAUSE)
            ours.append(_created(stub, f"dated-{number}"))
            time.sleep(PAUSE)
    return [
        Figure(
            "first line of user code",
            "ms",
            [each.first_line for each in ours],
            "bare spawn",
            [each.first_line for each in bare],
            Goal("difference", 40),
        ),
        Figure(
            "end of process to watcher p50",
            "ms",
            [each.end_known for each in ours],
            "bare wait",
            [each.end_known for each in bare],
            Goal("value", 20),
        ),
    ]


def _spawned() -> _Moments:
    begin = time.time_ns()
    child = subprocess.Popen(PROGRAM, stdout=subprocess.PIPE, start_new_session=True)
    printed, _ = child.communicate(timeout=SECONDS)
    return _moments(begin, int(printed), time.time_ns())


def _created(stub: ExperimentServiceStub, experiment_id: str) -> _Moments:
    request = api.WatchExperimentsRequest(
        parent=TEAM, filter=f'experiment_id = "{experiment_id}"', until_terminal=True
    )
    watch = stub.WatchExperiments(request, timeout=SECONDS)
    next(watch)  # it stands
    create = program(*PROGRAM, experiment_id=experiment_id)
    begin = time.time_ns()
    stub.CreateExperiment(create, timeout=SECONDS)
    state, known = api.EXPERIMENT_STATE_UNSPECIFIED, 0
    for frame in watch:
        if frame.HasField("change"):
            state, known = frame.change.experiment.state, time.time_ns()
    if state != api.EXPERIMENT_STATE_SUCCEEDED:
        raise RuntimeError(f"{experiment_id} ended as {api.ExperimentState.Name(state)}")
    logs = stub.StreamLogs(
        api.StreamLogsRequest(name=name_of(experiment_id), follow=True), timeout=SECONDS
    )
    printed = "".join(frame.chunk.text for frame in logs if frame.HasField("chunk"))
    return _moments(begin, int(printed), known)


def _moments(begin: int, printed: int, known: int) -> _Moments:
    return _Moments((printed - begin) / 1e6, (known - printed) / 1e6)
