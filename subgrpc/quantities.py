"""Quantities as Kubernetes writes them ("500m", "20Gi", also "20GB"): read, and written."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

MAX_MILLICORES: Final = 10**9
"""A million cores: more is a mistake."""
MAX_BYTES: Final = 2**63 - 1
"""What a signed 64-bit number holds."""

_NUMBER: Final = re.compile(r"([0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})([A-Za-z]*)")
_PREFIXES: Final = "KMGTPE"
_BINARY: Final = tuple(f"{prefix}i" for prefix in _PREFIXES)
_UNITS: Final[dict[str, int]] = {
    "": 1,
    "B": 1,
    "k": 1000,
    "kB": 1000,
    **{f"{prefix}{end}": 1000**n for n, prefix in enumerate(_PREFIXES, 1) for end in ("", "B")},
    **{f"{prefix}{end}": 1024**n for n, prefix in enumerate(_PREFIXES, 1) for end in ("i", "iB")},
}
_CPU_HELP: Final = 'processor cores are written as "2", "0.5" or "500m"'
_BYTES_HELP: Final = 'bytes are written as "512Mi", "20Gi", "20GB" or "1.5G"'


def parse_cpu(text: str) -> int:
    """Returns processor cores as millicores: "2" is 2000, "500m" is 500.

    Raises:
        ValueError: not such a quantity, 0, finer than a millicore, or beyond `MAX_MILLICORES`.
    """
    number, unit = _split(text, _CPU_HELP)
    if unit not in ("", "m"):
        raise ValueError(f"{_shown(text)} has the unit {unit!r}: {_CPU_HELP}")
    millicores = number if unit else number * 1000
    if not millicores:
        raise ValueError(f'{_shown(text)} is no processor at all; the least is "1m"')
    if millicores.denominator != 1:
        raise ValueError(f'{_shown(text)} is finer than a thousandth of a core, "1m"')
    if millicores > MAX_MILLICORES:
        raise ValueError(f"{_shown(text)} is more than {MAX_MILLICORES // 1000} cores")
    return int(millicores)


def parse_bytes(text: str) -> int:
    """Returns a size in bytes: "20Gi" is 20 · 1024³, "20G" and "20GB" are 20 · 1000³.

    A fraction of a byte is rounded up.

    Raises:
        ValueError: not such a quantity, less than a byte, or beyond `MAX_BYTES`.
    """
    number, unit = _split(text, _BYTES_HELP)
    factor = _UNITS.get(unit)
    if factor is None:
        raise ValueError(f"{_shown(text)} has the unit {unit!r}{_unit_hint(unit)}: {_BYTES_HELP}")
    if not number:
        raise ValueError(f"{_shown(text)} is no memory at all: {_BYTES_HELP}")
    if factor == 1 and number.denominator != 1:
        raise ValueError(f"{_shown(text)} is not a whole number of bytes: {_BYTES_HELP}")
    size = number * factor
    if size > MAX_BYTES:
        raise ValueError(f"{_shown(text)} is more than 2^63 bytes")
    return -(-size.numerator // size.denominator)


def format_cpu(millicores: int) -> str:
    """Writes millicores so that `parse_cpu` reads the same: "2", "1.5", "250m"."""
    if millicores % 1000 == 0:
        return str(millicores // 1000)
    if millicores < 1000:
        return f"{millicores}m"
    return f"{millicores // 1000}.{millicores % 1000:03d}".rstrip("0")


def format_bytes(size: int) -> str:
    """Writes bytes in the greatest binary unit that divides them, so that nothing is rounded."""
    unit = ""
    for candidate in _BINARY:
        if not size or size % 1024:
            break
        size, unit = size // 1024, candidate
    return f"{size}{unit}"


def show_bytes(size: int) -> str:
    """Writes bytes for a person, rounded to three figures: "15.6 GiB"."""
    value, unit = float(size), "B"
    for candidate in _BINARY:
        # 999.5 and more would be shown as 1000 or, worse, 1e+03.
        if value < 999.5:
            break
        value, unit = value / 1024, f"{candidate}B"
    return f"{value:.3g} {unit}"


def _split(text: str, help_text: str) -> tuple[Fraction, str]:
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise ValueError(f"{_shown(text)} is not a quantity: {help_text}")
    return Fraction(found[1]), found[2]


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _unit_hint(unit: str) -> str:
    known = [each for each in _UNITS if each.lower() == unit.lower()]
    if unit == "m":
        return " (thousandths of a byte)"
    return f", did you mean {known[0]!r}?" if known and unit else ""
