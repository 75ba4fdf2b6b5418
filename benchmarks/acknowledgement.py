"""How long a caller waits until an experiment is durable, with one call in flight."""

from __future__ import annotations

from benchmarks.loader import SERVICE, load
from benchmarks.messages import training, write
from benchmarks.processes import folder
from benchmarks.report import Figure, Goal, Options
from benchmarks.servers import bare, held

METHOD = f"{SERVICE}CreateExperiment"


def measure(options: Options) -> list[Figure]:
    """Runs it, in turns with an echo of the same response size."""
    seconds = ("-inflight", 1, "-seconds", 0.5 if options.quick else 1)
    with folder() as here, held(here) as server:
        request = write(here / "request", training())
        size = load("unary", server.address, METHOD, request, "-seconds", 0.1)["size"]
        figure = Figure(
            "acknowledgement p50", "ms", [], f"echo of {size:,} B", goal=Goal("value", 3)
        )
        with bare(here, size) as limit:
            for _ in range(options.rounds(7)):
                report = load("unary", limit.address, f"/bare/answer{size}", request, *seconds)
                figure.limits.append(report["p50_ms"])
                report = load("unary", server.address, METHOD, request, *seconds)
                figure.values.append(report["p50_ms"])
                figure.note = f"p99 {report['p99_ms']:.1f} ms"
    return [figure]
