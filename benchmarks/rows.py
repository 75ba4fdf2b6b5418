"""Get and list-50 with many experiments against the same with few; `--million` for 10^6."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from benchmarks.fill import fill
from benchmarks.loader import SERVICE, load
from benchmarks.messages import NUMBER, TEAM, name_of, write
from benchmarks.processes import folder
from benchmarks.report import Figure, Goal, Options
from benchmarks.servers import Served, held
from subgrpc.v1 import experiment_service_pb2 as api

FEW, MANY, MILLION = 10_000, 100_000, 1_000_000


def measure(options: Options) -> list[Figure]:
    """Runs it with one call in flight: what is compared is how long one takes."""
    many = MILLION if options.million else MANY
    with ExitStack() as stack:
        here = stack.enter_context(folder())
        servers = [stack.enter_context(held(_filled(here / str(count), count)))
                   for count in (FEW, many)]  # fmt: skip
        get = write(here / "get", api.GetExperimentRequest(name=name_of(f"row-{NUMBER}")))
        page = write(here / "list", api.ListExperimentsRequest(parent=TEAM, page_size=50))
        goal = Goal("ratio", 1.2)
        return [
            _figure(f"get at {many:,}, p50", "GetExperiment", get, servers, goal, many, options),
            _figure(
                f"list-50 at {many:,}, p50", "ListExperiments", page, servers, None, many, options
            ),
        ]


def _filled(here: Path, count: int) -> Path:
    here.mkdir()
    (here / "held").mkdir(mode=0o700)
    fill(here / "held", count)
    return here


def _figure(
    name: str,
    method: str,
    request: Path,
    servers: list[Served],
    goal: Goal | None,
    many: int,
    options: Options,
) -> Figure:
    figure = Figure(name, "ms", [], f"at {FEW:,}", goal=goal)
    given = ("-inflight", 1, "-seconds", 0.5 if options.quick else 1.5)
    found = (figure.limits, figure.values)
    for _ in range(options.rounds(7)):
        for server, count, times in zip(servers, (FEW, many), found, strict=True):
            report = load(
                "unary", server.address, f"{SERVICE}{method}", request, *given, "-range", count
            )
            times.append(report["p50_ms"])
    return figure
