"""Processes of the benchmarks: started, asked, and always ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 120.0
"""What starts has to be ready by then."""
END_SECONDS = 20.0
"""What was asked to end has to be gone by then, or is killed."""


def python(module: str, *arguments: object) -> list[str]:
    """The command line of one of our modules."""
    return [sys.executable, "-m", module, *map(str, arguments)]


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    made = Path(tempfile.mkdtemp(prefix="subgrpc-bench-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def running(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str] = os.environ,
    cwd: Path = ROOT,
) -> Iterator[subprocess.Popen[str]]:
    """Runs a process with pipes to its input and output; it is ended by its pid."""
    given = {key: value for key, value in environment.items() if "SUBGRPC" not in key}
    with log.open("ab") as errors:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=cwd,
            env=given,
            text=True,
        )
    try:
        yield child
    finally:
        end(child)


def end(child: subprocess.Popen[str]) -> None:
    """Ends a process, kindly at first."""
    child.terminate()
    try:
        child.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(END_SECONDS)
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def first_line(child: subprocess.Popen[str], log: Path) -> str:
    """What a process says when it is ready.

    Raises:
        RuntimeError: it ended instead.
    """
    assert child.stdout is not None
    found = child.stdout.readline()
    if not found:
        raise RuntimeError(f"{child.args!r} ended: {log.read_text()[-2000:]}")
    return found.strip()


def memory(pid: int) -> float:
    """The resident memory of a process, MB."""
    for each in Path(f"/proc/{pid}/status").read_text().splitlines():
        if each.startswith("VmRSS:"):
            return int(each.split()[1]) / 1000
    raise RuntimeError(f"process {pid} is gone")
