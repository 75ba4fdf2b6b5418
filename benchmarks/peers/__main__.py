"""`make bench-peers`: the same jobs on subgrpc and on its peers.

python -m benchmarks.peers [--quick] [NAME…]
"""

from __future__ import annotations

import argparse
import signal
import sys

from benchmarks.peers.catalogue import PEERS, Peer
from benchmarks.peers.install import interpreter, version
from benchmarks.peers.measure import measure
from benchmarks.report import Options, Skipped, keep, line, machine, title
from subgrpc import __version__


def main() -> int:
    """Returns 1 if a peer failed; one that cannot be installed is skipped."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(PEERS)}")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    given = parser.parse_args()
    if unknown := set(given.names) - set(PEERS):
        parser.error(f"there is no peer {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends what it started
    options = Options(quick=given.quick)
    print(" · ".join(f"{key}: {value}" for key, value in machine().items()), flush=True)
    print("ratio: subgrpc / peer", flush=True)
    done = [_run(PEERS[name], options) for name in given.names or PEERS]
    return int(not all(done))


def _run(peer: Peer, options: Options) -> bool:
    """Whether it did not fail."""
    try:
        python = interpreter(peer.name)
        versions = {"subgrpc": __version__, peer.name: version(python, peer.name)}
        print(f"\n{' · '.join(f'{name} {number}' for name, number in versions.items())}")
        print(title("subgrpc", peer.title), flush=True)
        figures = []
        for figure in measure(peer, python, options):
            figures.append(figure)
            print(line(figure), flush=True)
    except Skipped as reason:
        print(f"{peer.title}: skipped: {reason}", flush=True)
        return True
    except (OSError, RuntimeError) as error:  # the others are still worth running
        print(f"{peer.title}: FAILED: {error}", file=sys.stderr, flush=True)
        return False
    keep(f"peer-{peer.name}", figures, options, versions)
    return True


if __name__ == "__main__":
    sys.exit(main())
