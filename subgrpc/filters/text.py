"""How values are written in filters: quotes, times, and hints in error messages."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def quote(text: str) -> str:
    """Writes a string so that the parser reads the same."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def shown(text: str) -> str:
    """What was found, for a message: quoted and not too long."""
    return repr(text if len(text) <= 40 else text[:40] + "…")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint at what is known and looks like it, or nothing."""
    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(word[:100].lower(), by_lower, n=1)
    return f" (did you mean {by_lower[close[0]]}?)" if close else ""


def parse_time(text: str) -> int | None:
    """Microseconds since the epoch of an RFC 3339 time; None: it is not one."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        return None
    day, clock, fraction, sign, hours, minutes = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}+00:00")
    except ValueError:
        return None
    if sign and (int(hours) > 23 or int(minutes) > 59):
        return None
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    since = (moment - _EPOCH) + (offset if sign == "-" else -offset)
    return since // timedelta(microseconds=1) + int((fraction or "").ljust(6, "0")[:6])


def time_text(time: int) -> str:
    """RFC 3339 in UTC, also just outside of the years 1 to 9999 that an offset can lead to."""
    lowest, highest = -62_135_596_800_000_000, 253_402_300_799_999_999
    moment = _EPOCH + timedelta(microseconds=min(max(time, lowest), highest))
    return moment.isoformat().replace("+00:00", "Z")
