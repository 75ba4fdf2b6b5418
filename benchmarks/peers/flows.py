"""What Prefect runs: the same jobs, as flows. It is imported by Prefect's processes only."""

from __future__ import annotations

import time
from pathlib import Path

from prefect import flow


@flow  # type: ignore[untyped-decorator]
def nothing() -> None:
    """Does nothing."""


@flow  # type: ignore[untyped-decorator]
def stamp(target: str) -> None:
    """Writes the time, in ns, to a file."""
    Path(target).write_text(str(time.time_ns()))
