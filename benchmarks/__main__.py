"""`make bench`: runs benchmarks one after the other.

python -m benchmarks [--quick] [--million] [--check] [--database URL] [NAME…]
"""

from __future__ import annotations

import argparse
import importlib
import sys

from benchmarks.report import Options, Skipped, keep, line, machine, title

NAMES = (
    *("calls", "acknowledgement", "moments", "burst", "follow", "watchers", "startup"),
    *("adopt", "rows", "stores", "artifacts", "registry"),
)


def main() -> int:
    """Returns 1 if a benchmark failed, or (--check) a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--million", action="store_true", help="rows: go on to a million")
    parser.add_argument("--check", action="store_true", help="fail where a goal is missed")
    parser.add_argument("--database", default="", metavar="URL", help="calls: with PostgreSQL")
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    if given.database and given.names != ["calls"]:
        parser.error("--database: only `calls` is measured with PostgreSQL")
    options = Options(quick=given.quick, million=given.million, database=given.database)
    print(" · ".join(f"{key}: {value}" for key, value in machine().items()))
    print(title(), flush=True)
    outcomes = [_run(name, options) for name in given.names or NAMES]
    return int(not all(outcomes) if given.check else None in outcomes)


def _run(name: str, options: Options) -> bool | None:
    """Whether no goal was missed; None: it failed."""
    try:
        figures = importlib.import_module(f"benchmarks.{name}").measure(options)
    except Skipped as reason:
        print(f"{name}: skipped: {reason}", flush=True)
        return True
    except (OSError, RuntimeError) as error:  # the others are still worth running
        print(f"{name}: FAILED: {error}", file=sys.stderr, flush=True)
        return None
    keep(name, figures, options)
    for figure in figures:
        print(line(figure), flush=True)
    return all(figure.met is not False for figure in figures)


if __name__ == "__main__":
    sys.exit(main())
