"""`server-id` in a data folder: who its server is, among those of a control plane."""

from __future__ import annotations

import os
import re
from pathlib import Path

from subgrpc import names
from subgrpc.errors import DataLoss

NAME = "server-id"


def server_id(folder: Path) -> str:
    """The id of the server whose data folder this is; made if there is none. Blocks.

    The caller holds the folder's lock.

    Raises:
        DataLoss: SERVER_ID_DAMAGED.
        OSError: the folder cannot be read or written.
    """
    path = folder / NAME
    if not path.exists():
        _make(path)
    found = path.read_text(encoding="utf-8", errors="replace").strip()
    if not re.fullmatch("[0-9a-v]{26}", found):
        text = (
            f"{path} holds no id of a server: put back what was there (the logs that this server "
            "keeps belong to it), or remove it, and they are lost"
        )
        raise DataLoss(text, reason="SERVER_ID_DAMAGED", metadata={"path": str(path)})
    return found


def _make(path: Path) -> None:
    unfinished = path.with_name(f"{NAME}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{names.new_uid()}\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
