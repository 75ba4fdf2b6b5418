"""Fault points: where the crash tests kill this process, at every boundary that matters.

`point("attempt.stored")` does nothing unless the environment variable SUBGRPC_FAULTS holds a plan
(see `subgrpc.agent.faults`); then it may be the last thing that this process does. Every point is
listed in docs/testing.md.
"""

from __future__ import annotations

import os

from subgrpc.agent.faults import VARIABLE, Plan

_plan: Plan | None = None


def arm(text: str) -> None:
    """Takes a plan; an empty one takes it back."""
    global _plan
    _plan = Plan(text) if text else None


def point(name: str) -> None:
    """The process is at this point."""
    if _plan is not None:
        _plan.point(name)


def environment() -> dict[str, str]:
    """What a supervisor needs in its environment to follow the same plan."""
    return {VARIABLE: _plan.text} if _plan is not None else {}


arm(os.environ.get(VARIABLE, ""))
