"""Create, get and list-50, 64 calls in flight, against a bare echo of the same response size."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from benchmarks.loader import SERVICE, load, per_second
from benchmarks.messages import TEAM, name_of, training, write
from benchmarks.processes import folder
from benchmarks.report import Figure, Goal, Options
from benchmarks.servers import bare, fresh_database, held
from subgrpc.v1 import experiment_service_pb2 as api

ROWS = 60
PAGE = 50


class _Case(NamedTuple):
    name: str
    method: str
    request: Path
    goal: float | None
    size: int


def measure(options: Options) -> list[Figure]:
    """Runs it; each run of a call stands beside one of the echo."""
    with (
        folder() as here,
        fresh_database(options.database) as database,
        held(here, database) as server,
    ):
        fill = write(here / "create", training())
        load("unary", server.address, f"{SERVICE}CreateExperiment", fill, "-seconds", 0.2)
        load(
            *("unary", server.address, f"{SERVICE}CreateExperiment"),
            *(write(here / "one", training("measured")), "-seconds", 0),
        )
        cases = _cases(here, server.address, bool(database))
        with bare(here, *(case.size for case in cases)) as limit:
            return [_figure(case, server.address, limit.address, options) for case in cases]


def _cases(here: Path, address: str, postgres: bool) -> list[_Case]:
    one = api.GetExperimentRequest(name=name_of("measured"))
    page = api.ListExperimentsRequest(parent=TEAM, page_size=PAGE)
    goals = (0.3, 0.4, None) if postgres else (0.5, 0.7, 0.6)
    calls = (
        ("create", "CreateExperiment", training(), goals[0]),
        ("get", "GetExperiment", one, goals[1]),
        ("list-50", "ListExperiments", page, goals[2]),
    )
    cases = []
    for name, method, request, goal in calls:
        path = write(here / name, request)
        size = load("unary", address, f"{SERVICE}{method}", path, "-seconds", 0.1)["size"]
        cases.append(_Case(name, f"{SERVICE}{method}", path, goal, size))
    return cases


def _figure(case: _Case, address: str, limit: str, options: Options) -> Figure:
    figure = Figure(
        case.name,
        "calls/s",
        [],
        f"echo of {case.size:,} B",
        goal=None if case.goal is None else Goal("ratio", case.goal, at_least=True),
    )
    seconds = ("-seconds", 0.7 if options.quick else 2)
    for _ in range(options.rounds(9)):
        bare_report = load("unary", limit, f"/bare/answer{case.size}", case.request, *seconds)
        figure.limits.append(per_second(bare_report))
        report = load("unary", address, case.method, case.request, *seconds)
        figure.values.append(per_second(report))
        figure.note = f"p99 {report['p99_ms']:.0f} ms"
    return figure
