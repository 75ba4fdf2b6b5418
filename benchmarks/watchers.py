"""Thousands of idle watchers: the memory that they cost, and how soon one hears of its event."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.loader import SERVICE, command
from benchmarks.messages import NUMBER, TEAM, training, write
from benchmarks.processes import first_line, folder, memory, running
from benchmarks.report import Figure, Goal, Options
from benchmarks.servers import Served, held
from subgrpc.v1 import experiment_service_pb2 as api

WATCHERS, QUICK_WATCHERS = 5_000, 1_000
METHOD = f"{SERVICE}WatchExperiments"


def measure(options: Options) -> list[Figure]:
    """Runs it: each watcher waits for an experiment of its own, then all of them for each."""
    count = QUICK_WATCHERS if options.quick else WATCHERS
    with folder() as here:
        own = api.WatchExperimentsRequest(parent=TEAM, filter=f'experiment_id = "own-{NUMBER}"')
        write(here / "create", training(f"own-{NUMBER}"))
        one, added = _watch(here, own, count, 50 if options.quick else 300)
        every = api.WatchExperimentsRequest(parent=TEAM)
        all_, _ = _watch(here, every, count, 3 if options.quick else 10, "-all")
    return [
        Figure(f"memory of {count:,} watchers", "MB", [added], goal=Goal("value", 500)),
        Figure(f"event of 1 of {count:,}, p99", "ms", [one["p99_ms"]], goal=Goal("value", 250)),
        Figure(
            f"event of all {count:,}, p99",
            "ms",
            [all_["p99_ms"]],
            note=f"each event is sent {count:,} times; p50 {all_['p50_ms']:.0f} ms",
        ),
    ]


def _watch(
    here: Path, request: api.WatchExperimentsRequest, count: int, rounds: int, *options: str
) -> tuple[dict[str, Any], float]:
    """What the load reports, and how many MB the server has grown by."""
    log = here / "watch.log"
    given = ("-watchers", count, "-rounds", rounds, "-create", here / "create", *options)
    with folder() as data, held(data) as server:
        before = memory(server.pid)
        path = write(here / "watch", request)
        with running(command("watch", server.address, METHOD, path, *given), log) as child:
            first_line(child, log)
            added = _grown(server, before)
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
            report: dict[str, Any] = json.loads(first_line(child, log))
    return report, added


def _grown(server: Served, before: float) -> float:
    return memory(server.pid) - before
