"""The JSON files of pieces, and the table that adds them up."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .points import AGENT, SERVER
from .servers import ROOT
from .universe import Result

FOLDER = ROOT / "build" / "crash"
_COLUMNS = (
    *("server kills", "supervisor kills", "stops", "experiments", "starts"),
    *("followers", "watch calls", "watch frames", "log bytes"),
)


def keep(database: str, seed: int, seconds: float, results: Sequence[Result]) -> Path:
    """Writes the JSON of a piece; returns where."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{database}-{time.strftime('%Y%m%dT%H%M%S')}-{seed}.json"
    path.write_text(json.dumps(_sum(database, seed, seconds, results), indent=1) + "\n")
    return path


def table(pieces: Sequence[dict[str, Any]]) -> str:
    """A row for each database, with everything added up, and how often each point has killed."""
    head = ("database", "pieces", *_COLUMNS, "lost", "doubled", "violations")
    rows = [head]
    for database in sorted({piece["database"] for piece in pieces}):
        mine = [piece for piece in pieces if piece["database"] == database]
        counts = sum((Counter(piece["counts"]) for piece in mine), Counter())
        wrong = (sum(len(p[name]) for p in mine) for name in ("lost", "doubled", "violations"))
        rows.append(
            tuple(map(str, (database, len(mine), *(counts[each] for each in _COLUMNS), *wrong)))
        )
    widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    points = sum((Counter(piece["points"]) for piece in pieces), Counter())
    lines.append("kills by point: " + ", ".join(f"{n} {points[n]}" for n in (*SERVER, *AGENT)))
    for piece in pieces:
        for name in ("lost", "doubled", "violations"):
            lines += [f"{name.upper()} (seed {piece['seed']}): {each}" for each in piece[name][:20]]
    return "\n".join(lines)


def kept() -> list[dict[str, Any]]:
    """All pieces."""
    return [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]


def piece(database: str, seed: int, seconds: float, results: Sequence[Result]) -> dict[str, Any]:
    """One piece, as `kept` returns it."""
    return _sum(database, seed, seconds, results)


def _sum(database: str, seed: int, seconds: float, results: Sequence[Result]) -> dict[str, Any]:
    return {
        "database": database,
        "seed": seed,
        "seconds": round(seconds),
        "counts": sum((each.counts for each in results), Counter()),
        "points": sum((each.points for each in results), Counter()),
        "lost": [text for each in results for text in each.lost],
        "doubled": [text for each in results for text in each.doubled],
        "violations": [text for each in results for text in each.violations],
    }
