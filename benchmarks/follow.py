"""Following 100,000 lines, by 1 and by 100 followers, against a bare stream of 64 KiB messages.

Live: the followers stand before the first line is written, all at once by `cat`. Line by line: the
program writes each line with a call of its own, and the limit is that program alone. Replayed:
the experiment has ended. The checksum of what each follower got says that nothing is lost or
doubled.
"""

from __future__ import annotations

import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import grpc

from benchmarks.loader import SERVICE, load
from benchmarks.messages import name_of, program, write
from benchmarks.processes import folder
from benchmarks.report import Figure, Goal, Options
from benchmarks.servers import Served, bare, local
from subgrpc.v1 import experiment_service_pb2 as api
from subgrpc.v1.experiment_service_pb2_grpc import ExperimentServiceStub

LINES = 100_000
LINE = 200
"""Bytes of a line."""
FOLLOWERS = 100
SECONDS = 60.0
METHOD = f"{SERVICE}StreamLogs"

_WAIT = 'while [ ! -e "$1" ]; do sleep 0.01; done; '
_EACH = "import os, sys\nfor line in open(sys.argv[1], 'rb'):\n    os.write(1, line)\n"


def measure(options: Options) -> list[Figure]:
    """Runs it, in turns with the bare stream."""
    with folder() as here, local(here) as server, bare(here) as limit:
        case = _Case(here, server, limit)
        few = options.rounds(7, quick=2)
        return [
            case.live(few, 1, Goal("ratio", 0.5, at_least=True)),
            case.live(options.rounds(3, quick=1), FOLLOWERS, Goal("ratio", 0.5, at_least=True)),
            case.replayed(few, 1),
            case.replayed(options.rounds(3, quick=1), FOLLOWERS),
            case.line_by_line(few),
        ]


class _Case:
    """The lines, and the servers."""

    def __init__(self, here: Path, server: Served, limit: Served) -> None:
        self._here = here
        self._server = server
        self._limit = limit
        self._text = here / "lines"
        content = b"".join(b"%0*d\n" % (LINE - 1, number) for number in range(LINES))
        self._text.write_bytes(content)
        self._size, self._sum = len(content), zlib.crc32(content)
        self._runs = 0

    def live(self, rounds: int, followers: int, goal: Goal) -> Figure:
        figure = self._figure("follow live", followers, goal)
        for _ in range(rounds):
            figure.limits.append(self._bare(followers))
            figure.values.append(_rate(self._follow(followers, "cat", str(self._text))[0]))
        return figure

    def replayed(self, rounds: int, followers: int) -> Figure:
        figure = self._figure("follow replayed", followers, Goal("ratio", 0.5, at_least=True))
        _, request = self._follow(1, "cat", str(self._text))
        for _ in range(rounds):
            figure.limits.append(self._bare(followers))
            figure.values.append(_rate(self._read(request, followers)))
        return figure

    def line_by_line(self, rounds: int) -> Figure:
        words = (sys.executable, "-I", "-S", "-c", _EACH, str(self._text))
        figure = Figure("follow line by line", "s", [], "the program alone")
        figure.note = "from the first line to the last at the follower; start-up of Python included"
        for _ in range(rounds):
            with (self._here / "alone").open("wb") as sink:
                begin = time.monotonic()
                subprocess.run(words, stdout=sink, check=True, timeout=SECONDS)
                figure.limits.append(time.monotonic() - begin)
            figure.values.append(self._follow(1, *words)[0]["seconds"])
        return figure

    def _figure(self, name: str, followers: int, goal: Goal) -> Figure:
        note = "0 lost, 0 doubled"
        name = f"{name}, {followers} follower{'s' if followers > 1 else ''}"
        return Figure(name, "MB/s", [], "bare 64 KiB stream", goal=goal, note=note)

    def _bare(self, streams: int) -> float:
        request = write(self._here / "size", str(self._size).encode())
        report = load("stream", self._limit.address, "/bare/stream", request, "-streams", streams)
        return _rate(report)

    def _follow(self, followers: int, *words: str) -> tuple[dict[str, Any], Path]:
        """Runs a program that starts once its followers stand; returns what they report."""
        self._runs += 1
        name, gate = f"lines-{self._runs}", self._here / f"gate-{self._runs}"
        create = program("sh", "-c", f'{_WAIT} shift; exec "$@"', "sh", str(gate), *words)
        create.experiment_id = name
        with grpc.insecure_channel(self._server.address) as channel:
            ExperimentServiceStub(channel).CreateExperiment(create, timeout=SECONDS)
        request = write(self._here / name, _request(name))
        return self._read(request, followers, "-gate", gate), request

    def _read(self, request: Path, followers: int, *options: object) -> dict[str, Any]:
        given = ("-logs", "-streams", followers, *options)
        report = load("stream", self._server.address, METHOD, request, *given)
        if report["holes"] or report["sums"] != [self._sum] * followers:
            raise RuntimeError(f"lines were lost or doubled: {report['bytes']} bytes came")
        return report


def _request(name: str) -> api.StreamLogsRequest:
    return api.StreamLogsRequest(
        name=name_of(name),
        follow=True,
        stream=1,  # type: ignore[arg-type]  # LOG_STREAM_STDOUT
        format=api.LOG_FORMAT_BYTES,
    )


def _rate(report: dict[str, Any]) -> float:
    """Content, MB a second, of all streams together."""
    return float(report["bytes"] / report["seconds"] / 1e6)
