"""The fault points of subgrpc, and which of them is tried next: each is to be hit evenly."""

from __future__ import annotations

import random
from collections import Counter

SERVER = {
    "commit.before": 40,
    "commit.after": 40,
    "lease.taken": 1,
    "attempt.prepared": 12,
    "attempt.stored": 12,
    "attempt.submitted": 12,
    "observation.made": 20,
    "observation.stored": 20,
    "stop.wanted": 2,
    "stop.asked": 2,
    "output.storing": 4,
    "output.stored": 4,
    "output.recorded": 1,
    "output.registered": 2,
    "local.released": 1,
    "local.input-made": 1,
    "logs.collected": 8,
    "logs.sealed": 8,
    "backend.cleaned": 8,
    "attempt.settled": 8,
    "removal.backend": 1,
    "removal.journals": 1,
    "journal.doomed": 1,
    "journal.begun": 10,
    "journal.appending": 30,
    "journal.appended": 30,
    "journal.sealing": 8,
    "journal.sealed": 8,
    "archive.stored": 4,
    "archive.recorded": 4,
    "archive.evicted": 6,
    "archive.fetched": 2,
    "local.creating": 10,
    "local.created": 10,
    "local.placed": 10,
    "local.locked": 10,
    "local.spawned": 10,
    "local.told-to-stop": 2,
    "local.discarded": 8,
    "local.burying": 1,
}
"""Points of the server; about how often one life comes to each, so that any hit may be chosen."""
AGENT = (
    *("agent.started", "agent.claimed", "agent.child", "agent.reported", "agent.ended"),
    "agent.checkpoint",
    "agent.taken",
    "agent.final",
)
"""Points of the supervisors, which come to each of them once."""


class Chooser:
    """Chooses the point of each life: mostly one that was hit seldom, and can be reached."""

    def __init__(self, rng: random.Random, agents: int) -> None:
        """`agents`: of so many supervisors, one is killed at each of their points."""
        self._rng = rng
        self._agents = agents
        self.kills: Counter[str] = Counter()
        self._tries: Counter[str] = Counter()

    def next(self) -> str:
        """The points of a plan, as `subgrpc.agent.faults` reads it."""
        points = [f"{name}=1/{self._agents}" for name in AGENT] if self._agents else []
        if self._rng.random() < 0.8:
            weights = [1 / (1 + self.kills[name] + self._tries[name] / 4) ** 2 for name in SERVER]
            (name,) = self._rng.choices(list(SERVER), weights)
            self._tries[name] += 1
            points.append(f"{name}={self._rng.randint(1, SERVER[name])}")
        return ",".join(points)
