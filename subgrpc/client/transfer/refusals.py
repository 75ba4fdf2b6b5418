"""What the transfer of files refuses, in words for people."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from subgrpc.errors import DataLoss, FailedPrecondition, InvalidArgument, ResourceExhausted

_SHOWN = 10


def several(what: str, found: list[str], reason: str) -> InvalidArgument:
    """An error about several files, the first of which it names."""
    shown = ", ".join(found[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return InvalidArgument(f"{what}: {shown}{more}", reason=reason)


def changed(source: str) -> FailedPrecondition:
    """A file that was written to meanwhile."""
    text = f"{source} changed while it was read: push again when nobody writes to it"
    return FailedPrecondition(text, reason="FILE_CHANGED")


def damaged(text: str) -> DataLoss:
    """Bytes that came are not what the digest says, twice."""
    return DataLoss(text, reason="DOWNLOAD_DAMAGED")


def unsafe(text: str) -> FailedPrecondition:
    """A list of files that would write somewhere else."""
    return FailedPrecondition(text, reason="UNSAFE_PATH")


@contextmanager
def full_disk(folder: str) -> Iterator[None]:
    """Within it, a full disk is a `ResourceExhausted` that names the folder."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise disk_full(folder, os.strerror(error.errno)) from error


def disk_full(folder: str, why: str) -> ResourceExhausted:
    """There is no room for what is pulled."""
    text = f"{why}: {folder}; what has come is kept, pull again to go on"
    return ResourceExhausted(text, reason="LOCAL_DISK_FULL")
