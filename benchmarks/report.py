"""What a benchmark found, how it is printed, and how it is kept."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal

BUILD = Path(__file__).resolve().parents[1] / "build" / "bench"

_WIDTHS = (34, 18, 32, 7, 28)


class Skipped(Exception):
    """A benchmark cannot be run here; the message says why."""


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured.

    Attributes:
        quick: less of everything, to see that it works.
        million: the benchmark of many rows goes on to a million.
        database: the URL of a PostgreSQL in which to make databases; empty: SQLite is measured.
    """

    quick: bool = False
    million: bool = False
    database: str = ""

    def rounds(self, full: int, quick: int = 3) -> int:
        """How often something is measured."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure has to be.

    Attributes:
        of: the figure itself, its ratio to the limit, or how far it is above the limit.
        bound: that it is compared with.
        at_least: whether more is better.
    """

    of: Literal["value", "ratio", "difference"]
    bound: float
    at_least: bool = False


@dataclass(slots=True)
class Figure:
    """One figure; where there were several runs, each list has one entry for each.

    Attributes:
        name: what was measured.
        unit: of values and limits.
        values: what it came to.
        limit_name: what it is compared with; empty: nothing.
        limits: what that came to, run by run in between.
        goal: what is wanted; None: nothing was promised.
        note: what else a reader should know.
    """

    name: str
    unit: str
    values: list[float]
    limit_name: str = ""
    limits: list[float] = field(default_factory=list)
    goal: Goal | None = None
    note: str = ""

    @property
    def value(self) -> float:
        """The median."""
        return median(self.values)

    @property
    def limit(self) -> float | None:
        """The median; None: there is none."""
        return median(self.limits) if self.limits else None

    @property
    def ratio(self) -> float | None:
        """The median of the runs' ratios: what disturbs a run disturbs its limit as well."""
        if not self.limit:  # nothing to compare with, or nothing that one could divide by
            return None
        if len(self.limits) != len(self.values):
            return self.value / self.limit
        return median(a / b for a, b in zip(self.values, self.limits, strict=True) if b)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None: there is none."""
        if self.goal is None:
            return None
        found = {
            "value": self.value,
            "ratio": self.ratio or 0.0,
            "difference": self.value - (self.limit or 0.0),
        }[self.goal.of]
        return found >= self.goal.bound if self.goal.at_least else found <= self.goal.bound


def title(figure: str = "figure", limit: str = "limit") -> str:
    """The line above the figures."""
    return _columns("", figure, limit, "ratio", "goal")


def line(figure: Figure) -> str:
    """A figure as one line for people."""
    limit = "" if figure.limit is None else f"{_short(figure.limit)} {figure.limit_name}"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    shown = f"{_short(figure.value)} {figure.unit}"
    text = _columns(figure.name, shown, limit, ratio, _goal(figure))
    return f"{text}  {figure.note}".rstrip()


def keep(
    name: str,
    figures: Sequence[Figure],
    options: Options,
    versions: Mapping[str, str] | None = None,
) -> Path:
    """Writes the figures of a benchmark, and versions of what it ran, as JSON; returns where."""
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / f"{name}{'-postgres' if options.database else ''}.json"
    content = {
        "benchmark": name,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "quick": options.quick,
        "machine": machine(),
        "versions": dict(versions or {}),
        "figures": [
            {
                **asdict(figure),
                "median": figure.value,
                "limit": figure.limit,
                "ratio": figure.ratio,
                "met": figure.met,
            }
            for figure in figures
        ],
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def machine() -> dict[str, str | float]:
    """What the figures were taken on."""
    model = ""
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        for each in info:
            if each.startswith("model name"):
                model = each.partition(":")[2].strip()
                break
    return {
        "cpu": model or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def _columns(*texts: str) -> str:
    name, *rest = (text.ljust(width) for text, width in zip(texts, _WIDTHS, strict=True))
    return "  ".join((name, *rest)).rstrip()


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    sign = "≥" if figure.goal.at_least else "≤"
    bound = f"{figure.goal.bound:g}"
    wanted = {
        "value": f"{sign} {bound} {figure.unit}",
        "ratio": f"ratio {sign} {bound}",
        "difference": f"{sign} limit + {bound} {figure.unit}",
    }[figure.goal.of]
    return f"{wanted}: {'met' if figure.met else 'MISSED'}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
