"""Keys of objects: which there are, and what callers may ask for."""

from __future__ import annotations

import re
from typing import Final

from subgrpc.artifacts.failures import bad_key
from subgrpc.errors import InvalidArgument

LONGEST: Final = 200
_SEGMENT = r"[a-z0-9-][a-z0-9.-]*"
_KEY = re.compile(rf"{_SEGMENT}(/{_SEGMENT})*")
_PREFIX = re.compile(rf"({_SEGMENT}/)*({_SEGMENT})?")


def is_key(text: str) -> bool:
    """Whether an object may be called so."""
    return len(text) <= LONGEST and _KEY.fullmatch(text) is not None


def check_key(store: str, key: str) -> str:
    """Returns a key.

    Raises:
        InvalidArgument: OBJECT_KEY_INVALID: no store takes it.
    """
    if not is_key(key):
        raise bad_key(store, key)
    return key


def check_prefix(store: str, prefix: str) -> str:
    """Returns what a key may begin with; raises as `check_key`."""
    if len(prefix) > LONGEST or not _PREFIX.fullmatch(prefix):
        raise bad_key(store, prefix)
    return prefix


def check_range(store: str, offset: int, length: int | None) -> None:
    """Takes what may be read.

    Raises:
        InvalidArgument: OUT_OF_RANGE: one of them is negative.
    """
    if offset < 0 or (length is not None and length < 0):
        text = (
            f"artifact store {store!r}: neither offset ({offset}) nor length ({length}) is negative"
        )
        raise InvalidArgument(text, reason="OUT_OF_RANGE")
