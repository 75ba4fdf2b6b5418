"""Processes that tasks have started."""

from __future__ import annotations

import os
from pathlib import Path


def marked(uid: str) -> list[int]:
    """Processes of an experiment's tasks."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if f"SUBGRPC_TASK_UID={uid}".encode() in Path(f"/proc/{name}/environ").read_bytes():
                found.append(int(name))
        except OSError:
            continue
    return found
