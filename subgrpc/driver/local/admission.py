"""Who may start: strictly first come, first served, every run as a whole. Pure bookkeeping.

Nothing overtakes, so that a run which needs the whole host is not starved by small ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from subgrpc.driver import TaskKey
from subgrpc.driver.local.host import Host
from subgrpc.quantities import format_cpu, show_bytes


@dataclass(frozen=True, slots=True)
class Demand:
    """What one task, or several together, need: millicores, bytes, whole GPUs."""

    cpu: int = 0
    memory: int = 0
    gpus: int = 0

    def __add__(self, other: Demand) -> Demand:
        return Demand(self.cpu + other.cpu, self.memory + other.memory, self.gpus + other.gpus)

    def fits(self, free: Demand) -> bool:
        """Whether nothing is needed beyond what is free; what is not needed may be overdrawn."""
        return (
            (not self.cpu or self.cpu <= free.cpu)
            and (not self.memory or self.memory <= free.memory)
            and (not self.gpus or self.gpus <= free.gpus)
        )


def total(demands: Iterable[Demand]) -> Demand:
    """What several need together."""
    return sum(demands, Demand())


@dataclass(slots=True)
class Ledger:
    """What the host has, and which task has been given what."""

    host: Host
    _given: dict[tuple[object, TaskKey], Demand] = field(default_factory=dict)
    _gpus: dict[tuple[object, TaskKey], tuple[str, ...]] = field(default_factory=dict)
    _used: Demand = field(default_factory=Demand)

    @property
    def used(self) -> Demand:
        """What is given away."""
        return self._used

    @property
    def free(self) -> Demand:
        """What is left; below 0 where the host has shrunk since."""
        used, host = self._used, self.host
        return Demand(host.cpu - used.cpu, host.memory - used.memory, len(host.gpus) - used.gpus)

    def give(
        self, run: object, task: TaskKey, demand: Demand, gpus: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        """Gives a task what it needs; returns the ids of its GPUs.

        Args:
            run: whose task it is.
            task: the task.
            demand: what it needs; it must fit.
            gpus: those that it has already, after a restart.
        """
        key = (run, task)
        if key in self._given:
            return self._gpus[key]
        if gpus is None:
            taken = {gpu for ids in self._gpus.values() for gpu in ids}
            gpus = [gpu for gpu in self.host.gpus if gpu not in taken][: demand.gpus]
        self._given[key], self._gpus[key] = demand, tuple(gpus)
        self._used += demand
        return self._gpus[key]

    def take_back(self, run: object, task: TaskKey) -> None:
        """Takes back what a task was given, if it was given anything."""
        demand = self._given.pop((run, task), None)
        self._gpus.pop((run, task), None)
        if demand is not None:
            self._used += Demand(-demand.cpu, -demand.memory, -demand.gpus)


def wait_message(demand: Demand, ledger: Ledger, ahead: int) -> str:
    """Says why a run waits: "needs 4 cpu, 1.5 of 2 free; 3 experiments ahead"."""
    free, host = ledger.free, ledger.host
    figures = [
        (demand.cpu, free.cpu, f"{format_cpu(demand.cpu)} cpu", free_of(free.cpu, host.cpu)),
        (
            demand.memory,
            free.memory,
            f"{show_bytes(demand.memory)} memory",
            f"{show_bytes(max(0, free.memory))} of {show_bytes(host.memory)} free",
        ),
        (demand.gpus, free.gpus, f"{demand.gpus} gpus", f"{free.gpus} of {len(host.gpus)} free"),
    ]
    short = [f"{needs}, {has}" for need, left, needs, has in figures if need > left]
    needs = "needs " + "; ".join(short) if short else "waits for its turn"
    if not ahead:
        return needs
    return f"{needs}; {ahead} experiment{'s' if ahead > 1 else ''} ahead"


def free_of(free: int, all_: int) -> str:
    """Millicores as "1.5 of 2 free"."""
    return f"{format_cpu(max(0, free))} of {format_cpu(all_)} free"
