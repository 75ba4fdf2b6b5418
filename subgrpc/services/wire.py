"""Puts protobuf messages together from parts that are serialised already, without parsing them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache


def varint(value: int) -> bytes:
    """A number as protobuf's base-128 varint; `value` >= 0."""
    # Without a loop as long as most lengths are: every frame of a log has several.
    if value < 0x80:
        return bytes((value,))
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    if value < 0x200000:
        return bytes((value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@lru_cache(maxsize=4096)
def _head(number: int, size: int) -> bytes:
    return bytes((number << 3 | 2,)) + varint(size)


def length_delimited(number: int, data: bytes) -> bytes:
    """A field that holds a message, a string or bytes; `number` < 16."""
    return _head(number, len(data)) + data


def number(field: int, value: int) -> bytes:
    """A field that holds an unsigned number or an enum value; `field` < 16."""
    return b"%c%b" % (field << 3, varint(value))


def repeated(field: int, items: Iterable[bytes]) -> bytes:
    """A repeated message field."""
    parts: list[bytes] = []
    for item in items:
        parts += (_head(field, len(item)), item)
    return b"".join(parts)
