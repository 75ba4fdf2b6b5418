"""The jobs, by subgrpc and by one peer in turns within one run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.peers.catalogue import Peer, subgrpc
from benchmarks.peers.session import Session, session
from benchmarks.processes import folder
from benchmarks.report import Figure, Options

BURST, QUICK_BURST = 50, 20
CRASHED = 5
"""Jobs that are acknowledged right before everything is killed."""


def measure(peer: Peer, python: Path, options: Options) -> Iterator[Figure]:
    """Each figure is subgrpc's, its limit the peer's."""
    with folder() as here:
        yield from _starts(peer, python, here, options.rounds(3, 1))
        with ExitStack() as stack:
            pair = _Pair(peer, python, here, stack)
            yield from pair.jobs(options)
            yield pair.crash()


def _starts(peer: Peer, python: Path, here: Path, rounds: int) -> Iterator[Figure]:
    """Each of them started on an empty folder, one after the other."""
    ready = Figure("server ready", "s", [], peer.title, note="on an empty folder")
    memory = Figure("server memory", "MB", [], peer.title, note="all its processes, PSS")
    sides = (
        (subgrpc(peer.beside), None, ready.values, memory.values),
        (peer, python, ready.limits, memory.limits),
    )
    for number in range(rounds):
        for each, interpreter, seconds, weights in sides:
            with session(each, interpreter, here / f"{number}{each.name}") as up:
                seconds.append(up.ready)
                weights.append(up.memory)
    yield from (ready, memory)


class _Pair:
    """subgrpc and a peer, both up."""

    def __init__(self, peer: Peer, python: Path, here: Path, stack: ExitStack) -> None:
        self._peer = peer
        self._sides = (
            stack.enter_context(session(subgrpc(peer.beside), None, here / "subgrpc")),
            stack.enter_context(session(peer, python, here / peer.name)),
        )

    def jobs(self, options: Options) -> Iterator[Figure]:
        """Everything that is asked of servers that stay up."""
        count = QUICK_BURST if options.quick else BURST
        burst = self._figure(f"burst of {count} jobs", "jobs/s")
        known = self._burst(burst, count)
        yield burst
        # Now there are as many jobs as are listed: Ray lists all that it knows of.
        yield from self._reads(known, count, options)
        yield from self._moments(options)
        if self._peer.creates:
            yield self._creates(options)

    def crash(self) -> Figure:
        """Whether a job that was acknowledged is known after all was killed and started anew."""
        figure = self._figure("known after kill -9", f"of {CRASHED}")
        for side, values in self._both(figure):
            jobs = side.ask("submit", CRASHED)
            side.crash()
            values.append(float(side.ask("known", jobs)))
        return figure

    def _burst(self, figure: Figure, count: int) -> list[str]:
        """Returns a job of each side; what failed is no job done."""
        jobs, notes = [], []
        for side, values in self._both(figure):
            seconds, job, failed = side.ask("burst", count)
            values.append((count - failed) / seconds)
            jobs.append(job)
            if failed:
                notes.append(f"{failed} of {side.title}'s failed")
        figure.note = ", ".join(notes)
        return jobs

    def _reads(self, known: list[str], count: int, options: Options) -> Iterator[Figure]:
        seconds = 0.5 if options.quick else 1.0
        get = self._figure("get, one Python client", "calls/s")
        page = self._figure(f"list-{count}, one Python client", "calls/s")
        for _ in range(options.rounds(5, 2)):
            for (side, values), job in zip(self._both(get), known, strict=True):
                values.append(side.ask("read", job, seconds))
            for side, values in self._both(page):
                values.append(side.ask("page", count, seconds))
        yield from (get, page)

    def _moments(self, options: Options) -> Iterator[Figure]:
        names = ("submit acknowledged p50", "first line of user code p50", "end to client p50")
        figures = [self._figure(name, "ms") for name in names]
        for _ in range(options.rounds(7, 3)):
            for number, side in enumerate(self._sides):
                for figure, value in zip(figures, side.ask("moments"), strict=True):
                    (figure.values, figure.limits)[number].append(value)
        yield from figures

    def _creates(self, options: Options) -> Figure:
        """Ours runs the job: it is submitted, and has ended before the next."""
        figure = self._figure("create run acknowledged p50", "ms")
        ours, theirs = self._sides
        for _ in range(options.rounds(30, 10)):
            figure.values.append(ours.ask("moments")[0])
            figure.limits.append(theirs.ask("create"))
        return figure

    def _figure(self, name: str, unit: str) -> Figure:
        return Figure(name, unit, [], self._peer.title)

    def _both(self, figure: Figure) -> Iterator[tuple[Session, list[float]]]:
        """Each side, and where its values go."""
        yield from zip(self._sides, (figure.values, figure.limits), strict=True)
