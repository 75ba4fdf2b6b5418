"""The jobs, as shell commands: the same text for everybody who runs commands.

It runs in the virtual environments of the peers: standard library only.
"""

from __future__ import annotations

from pathlib import Path


def command(target: Path | None) -> str:
    """A job that does nothing, or writes the time, in ns, to a file and ends."""
    return "true" if target is None else f"date +%s%N >{target}"


def python(target: Path | None) -> str:
    """The same in Python: what stands beside a peer whose jobs are Python functions."""
    if target is None:
        return "exec python3 -c pass"
    return f"exec python3 -c 'import time; print(time.time_ns())' >{target}"
