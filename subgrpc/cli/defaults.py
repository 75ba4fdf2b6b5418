"""Where things are unless told otherwise. Imports nothing that takes time."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_ADDRESS = "127.0.0.1:7411"
ACTIVE = "state = QUEUED OR state = STARTING OR state = RUNNING OR state = CANCELLING"
"""The filter of experiments that have not ended."""


def data_dir() -> Path:
    """`$SUBGRPC_DATA_DIR`, else `subgrpc` in the user's data folder as XDG has it."""
    own = os.environ.get("SUBGRPC_DATA_DIR")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_DATA_HOME")
    # The XDG specification: a relative path is invalid and ignored.
    base = Path(shared) if shared and os.path.isabs(shared) else Path.home() / ".local" / "share"
    return base / "subgrpc"
