"""How long a server takes until it serves, what it weighs, and how soon the command helps."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.processes import first_line, folder, memory, python, running
from benchmarks.report import Figure, Goal, Options
from benchmarks.servers import local_command

SECONDS = 30.0


def measure(options: Options) -> list[Figure]:
    """Starts each of them again and again, in turns."""
    ready = Figure("server ready", "s", [], "bare server", goal=Goal("value", 1.5))
    weight = Figure("server memory", "MB", [], "bare server", goal=Goal("value", 150))
    helped = Figure("subgrpc --help", "ms", [], "bare interpreter", goal=Goal("value", 300))
    with folder() as here:
        for _ in range(options.rounds(7)):
            _start(here, python("benchmarks.bare"), ready.limits, weight.limits)
            _start(here, local_command(here), ready.values, weight.values)
            helped.limits.append(_milliseconds(sys.executable, "-c", ""))
            helped.values.append(_milliseconds(*python("subgrpc.cli.main", "--help")))
    return [ready, weight, helped]


def _start(here: Path, command: list[str], seconds: list[float], weights: list[float]) -> None:
    log = here / "log"
    begin = time.monotonic()
    with running(command, log) as child:
        first_line(child, log)
        seconds.append(time.monotonic() - begin)
        weights.append(memory(child.pid))


def _milliseconds(*command: str) -> float:
    begin = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=SECONDS)
    return (time.monotonic() - begin) * 1000
