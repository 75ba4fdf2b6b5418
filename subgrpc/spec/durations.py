"""Spans of time as people write them: "90s", "1h30m", "250ms", "2d", or seconds."""

from __future__ import annotations

import re
from fractions import Fraction

_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|us|ns|d|h|m|s)")
_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")
_NANOSECONDS = {
    "d": 86_400 * 10**9,
    "h": 3600 * 10**9,
    "m": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
    "us": 1000,
    "ns": 1,
}
MAX_NANOSECONDS = 315_576_000_000 * 10**9
"""What a protobuf Duration holds."""
_HELP = 'spans of time are written as "90s", "5m", "1h30m", "2d", or in seconds'


def parse_duration(text: str) -> int:
    """Returns a span of time in nanoseconds; a bare number means seconds.

    Raises:
        ValueError: not such a span, or units out of order, or longer than a Duration.
    """
    total, end, last = Fraction(0), 0, None
    if _SECONDS.fullmatch(text):
        total, end = Fraction(text) * 10**9, len(text)
    for part in _PART.finditer(text):
        unit = _NANOSECONDS[part[2]]
        if part.start() != end or (last is not None and unit >= last):
            break
        total, end, last = total + Fraction(part[1]) * unit, part.end(), unit
    shown = text if len(text) <= 40 else text[:40] + "…"
    if not text or end != len(text):
        raise ValueError(f"{shown!r} is not a span of time: {_HELP}")
    if total > MAX_NANOSECONDS:
        raise ValueError(f"{shown!r} is longer than ten thousand years")
    return int(total)
