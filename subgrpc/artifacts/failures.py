"""The errors of artifact stores, each with the store's name and what to do about it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from subgrpc.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    SubgrpcError,
    Unavailable,
)

RETRY: Final = 5.0
"""Seconds after which a store that could not be reached is worth another try."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_MISCONFIGURED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


def _facts(store: str) -> dict[str, str]:
    return {"store": store}


def invalid(store: str, text: str) -> InvalidArgument:
    """The URL or an option of a store is wrong."""
    text = f"the artifact store {store!r} cannot be used: {text}"
    return InvalidArgument(text, reason="STORE_INVALID", metadata=_facts(store))


def unavailable(store: str, text: str, retry_after: float = RETRY) -> Unavailable:
    """The store cannot be reached, or does not answer in time."""
    text = f"the artifact store {store!r} cannot be reached now: {text}"
    return Unavailable(
        text, reason="STORE_UNAVAILABLE", retry_after=retry_after, metadata=_facts(store)
    )


def access_denied(store: str, text: str) -> FailedPrecondition:
    """The store knows us not, or does not let us do this."""
    text = f"the artifact store {store!r} refuses access: {text}"
    return FailedPrecondition(text, reason="STORE_ACCESS_DENIED", metadata=_facts(store))


def misconfigured(store: str, text: str) -> FailedPrecondition:
    """There is no such bucket or folder."""
    text = f"the artifact store {store!r} is not as it was configured: {text}"
    return FailedPrecondition(text, reason="STORE_MISCONFIGURED", metadata=_facts(store))


def full(store: str, text: str) -> ResourceExhausted:
    """The store has no room."""
    text = f"the artifact store {store!r} is full: {text}; make room, or enlarge it"
    return ResourceExhausted(text, reason="STORE_FULL", metadata=_facts(store))


def not_found(store: str, key: str) -> NotFound:
    """It is certain that the store has no such object."""
    text = f"the artifact store {store!r} has no object {key!r}"
    return NotFound(text, reason="OBJECT_NOT_FOUND", metadata=_facts(store))


def exists(store: str, key: str, kept: int, size: int) -> AlreadyExists:
    """The key is taken by other content."""
    text = (
        f"the artifact store {store!r} has an object {key!r} of {kept} bytes already, and one of "
        f"{size} bytes was to be put there; it was left as it is"
    )
    return AlreadyExists(text, reason="OBJECT_EXISTS", metadata=_facts(store))


def mismatch(store: str, key: str, text: str) -> InvalidArgument:
    """The file is not what its caller said. Nothing was kept."""
    text = f"the file for the object {key!r} of the artifact store {store!r} {text}"
    return InvalidArgument(text, reason="OBJECT_MISMATCH", metadata=_facts(store))


def unreadable(store: str, key: str, error: OSError) -> InvalidArgument:
    """The file that is to be put cannot be read: the store is not to blame."""
    text = (
        f"the file for the object {key!r} of the artifact store {store!r} cannot be read: {error}"
    )
    return InvalidArgument(text, reason="UNREADABLE", metadata=_facts(store))


def damaged(store: str, key: str, text: str) -> DataLoss:
    """What the store keeps is not what was put."""
    text = f"the object {key!r} of the artifact store {store!r} is damaged: {text}"
    return DataLoss(text, reason="OBJECT_DAMAGED", metadata=_facts(store))


def bad_key(store: str, key: str) -> InvalidArgument:
    """No store takes such a key."""
    text = (
        f"{key!r} is no key of an object (artifact store {store!r}): segments of a-z, 0-9, '.' "
        "and '-' that do not begin with a dot, joined by '/', are, of at most 200 characters"
    )
    return InvalidArgument(text, reason="OBJECT_KEY_INVALID", metadata=_facts(store))


def of_os(store: str, error: OSError) -> SubgrpcError:
    """Maps what the operating system says of a store that is a file system."""
    text = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    if error.errno in _FULL:
        return full(store, text)
    if error.errno in _DENIED:
        return access_denied(store, f"{text}; the server's user has to own its folder")
    if error.errno in _MISCONFIGURED:
        return misconfigured(store, f"{text}; make the folder, or mount what belongs there")
    return unavailable(store, text)


@contextmanager
def os_errors(store: str) -> Iterator[None]:
    """Maps errors of the operating system, as `of_os`."""
    try:
        yield
    except OSError as error:
        raise of_os(store, error) from error
