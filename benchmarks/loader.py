"""The load: a native client that decodes no answers (benchmarks/load, in Go)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.report import BUILD, Skipped

SOURCE = Path(__file__).with_name("load")
SECONDS = 330.0
"""A load that takes longer has failed; it ends itself a little earlier."""
SERVICE = "/subgrpc.v1.ExperimentService/"


@cache
def program() -> str:
    """The path of the compiled client.

    Raises:
        Skipped: there is no Go, or it cannot be compiled.
    """
    if shutil.which("go") is None:
        raise Skipped("Go is not installed: the load is a Go program")
    BUILD.mkdir(parents=True, exist_ok=True)
    target = BUILD / "load"
    done = subprocess.run(
        ["go", "build", "-buildvcs=false", "-o", target, "."],
        cwd=SOURCE,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Skipped(f"the load cannot be compiled: {done.stderr.strip()[-300:]}")
    return str(target)


def command(mode: str, address: str, method: str, request: Path, *options: object) -> list[str]:
    """The command line of a load: see benchmarks/load/main.go."""
    given = ("-address", address, "-method", method, "-request", request, *options)
    return [program(), mode, *map(str, given)]


def load(mode: str, address: str, method: str, request: Path, *options: object) -> dict[str, Any]:
    """Makes a load; returns its report.

    Raises:
        RuntimeError: it failed, or a call of it did.
    """
    done = subprocess.run(
        command(mode, address, method, request, *options),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    report: dict[str, Any] = json.loads(done.stdout)
    if report.get("failed"):
        raise RuntimeError(f"{report['failed']} calls of {method} failed: {report['error']}")
    return report


def per_second(report: dict[str, Any]) -> float:
    """Calls a second."""
    return float(report["calls"] / report["seconds"])
