"""Keeps journals on the disk for as long as somebody copies them: a backup in another process.

What a backup's metastore says is only on the disk has to be there until the backup has it, though
the artifact store may get it meanwhile. A holder has a file in ROOT/.held, and renews it; one that
dies holds nothing for long.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from subgrpc.names import new_uid

LASTS: Final = 600.0
"""Seconds for which a file that is not renewed holds."""
_FOLDER: Final = ".held"


@contextlib.contextmanager
def holding(root: Path) -> Iterator[Callable[[], None]]:
    """Nothing is evicted from a folder of journals meanwhile; what it yields renews that."""
    mark = root / _FOLDER / new_uid()
    # Where there is no such folder, or nothing may be written, nothing is evicted either.
    with contextlib.suppress(OSError):
        mark.parent.mkdir(exist_ok=True, mode=0o755)
        mark.touch()

    def renew() -> None:
        with contextlib.suppress(OSError):
            os.utime(mark)

    try:
        yield renew
    finally:
        with contextlib.suppress(OSError):
            mark.unlink()


def is_held(root: Path) -> bool:
    """Whether somebody holds the journals of a folder."""
    latest = time.time() - LASTS
    try:
        return any(mark.stat().st_mtime > latest for mark in (root / _FOLDER).iterdir())
    except OSError:
        return False
