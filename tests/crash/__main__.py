"""`make crash`: a storm over several universes, the sum of all pieces, or the broken builds.

    python -m tests.crash [--minutes N] [--seed N] [--universes N] [--database URL] [--servers N]
    python -m tests.crash --report
    python -m tests.crash --mutants

A piece is judged and kept as JSON in build/crash; `--report` adds up what is there. The exit code
is 0 only if nothing was lost, doubled or violated (`--mutants`: if each of them was caught).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from . import evidence, report
from .mutants import MUTANTS
from .takeover import Takeover
from .universe import Result, Storm, Universe

ROUND = 120.0
"""Most seconds of kills in one universe: later ones begin anew, with an empty database."""
MUTANT_SECONDS = 12.0
MUTANT_STORMS = 3
"""A broken build that survives so many storms was not caught."""


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--universes", type=int, default=3, help="how many at the same time")
    parser.add_argument("--submitters", type=int, default=16, help="in each universe")
    parser.add_argument("--database", default="", metavar="URL", help="default: SQLite")
    parser.add_argument("--servers", type=int, default=1, help="in each universe")
    parser.add_argument("--folder", type=Path, help="where universes are; default: a new one")
    parser.add_argument("--report", action="store_true", help="only add up what was kept")
    parser.add_argument("--mutants", action="store_true", help="only test the broken builds")
    given = parser.parse_args()
    if given.report:
        pieces = report.kept()
        print(report.table(pieces))
        return int(any(p["lost"] or p["doubled"] or p["violations"] for p in pieces))
    folder = given.folder or Path(tempfile.mkdtemp(prefix="subgrpc-crash-"))
    folder.mkdir(parents=True, exist_ok=True)
    if given.mutants:
        return asyncio.run(_mutants(folder, given.seed))
    return asyncio.run(_piece(folder, given))


async def _piece(folder: Path, given: argparse.Namespace) -> int:
    began = time.monotonic()
    seconds = given.minutes * 60
    rounds = max(1, round(seconds / ROUND))
    storm = Storm(
        seconds / rounds,
        submitters=given.submitters,
        database=given.database,
        servers=given.servers,
    )

    async def universes(number: int) -> list[Result]:
        await asyncio.sleep(number * 0.7)
        seeds = [given.seed * 1000 + number * 100 + each for each in range(rounds)]
        return [await _universe(folder, storm, seed) for seed in seeds]

    several = await asyncio.gather(*(universes(number) for number in range(given.universes)))
    results = [result for each in several for result in each]
    results.append(await Takeover(folder / "takeover", "").run())
    database = given.database.partition(":")[0].partition("+")[0] or "sqlite"
    lasted = time.monotonic() - began
    print(report.table([report.piece(database, given.seed, lasted, results)]))
    print(f"{lasted:.0f} s; kept in {report.keep(database, given.seed, lasted, results)}")
    clean = all(result.clean for result in results)
    if not clean:
        print(f"what is left of universes with violations: {folder}", file=sys.stderr)
    return int(not clean)


async def _universe(folder: Path, storm: Storm, seed: int) -> Result:
    """Runs one universe, on PostgreSQL in a database of its own."""
    if not storm.database:
        return await Universe(folder / f"universe-{seed}", storm, seed).run()
    name = f"crash_{os.getpid()}_{seed}"
    url = evidence.new_database(storm.database, name)
    result = await Universe(folder / f"universe-{seed}", replace(storm, database=url), seed).run()
    if result.clean:
        evidence.drop_database(storm.database, name)
    return result


async def _mutants(folder: Path, seed: int) -> int:
    """Every broken build has to be caught."""

    async def run(name: str) -> list[str]:
        """What was found, and had to be; on a busy machine it may take several storms."""
        found: list[str] = []
        for number in range(seed, seed + MUTANT_STORMS):
            where = folder / f"{name}-{number}"
            storm = Storm(MUTANT_SECONDS, submitters=10, agents=0, blackout=0.8, mutant=name)
            if name == "epoch-not-checked":
                result = await Takeover(where, name).run()
            else:
                result = await Universe(where, storm, number).run()
            wrong = result.lost + result.doubled + result.violations
            found = [text for text in wrong if MUTANTS[name].found in text]
            if found:
                break
        print(f"{name}: {f'caught {len(found)} times: {found[0]}' if found else 'NOT CAUGHT'}")
        return found

    return int(not all(await asyncio.gather(*(run(name) for name in MUTANTS))))


if __name__ == "__main__":
    sys.exit(main())
