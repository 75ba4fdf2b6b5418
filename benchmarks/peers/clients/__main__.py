"""Does what it is told on its input, a JSON list [method, argument…] a line; answers in JSON.

python -m benchmarks.peers.clients NAME ADDRESS FOLDER

The methods are those of `Loops`. The clients of the peers print what they like: it goes to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

from benchmarks.peers.clients.base import Client, Loops


def main() -> None:
    """Serves until its input ends."""
    name, address, folder = sys.argv[1:]
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        kind: type[Client] = importlib.import_module(f"benchmarks.peers.clients.{name}").Peer
        loops = Loops(kind(address, Path(folder), Path(__file__).resolve().parents[3]))
        for line in sys.stdin:
            print(json.dumps(_answer(loops, line)), file=answers, flush=True)


def _answer(loops: Loops, line: str) -> dict[str, object]:
    method, *arguments = json.loads(line)
    try:
        return {"result": getattr(loops, method)(*arguments)}
    except Exception as error:  # whatever it is, the one who asked has to know
        return {"error": f"{method}: {type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
