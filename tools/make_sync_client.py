"""Makes the client that blocks out of the one for asyncio, so that nobody writes both.

    .venv/bin/python tools/make_sync_client.py [--check]

Each module of subgrpc/client/aio named below becomes the module of the same name in
subgrpc/client: words of asynchronous Python are replaced by the others. `--check` writes nothing
and fails if a module is not what it would be made.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLIENT = ROOT / "subgrpc" / "client"
MODULES = (
    *("artifact_calls", "artifacts", "calls", "client", "clusters", "experiments", "feeds"),
    *("following", "handle", "model_calls", "model_versions", "models", "streams", "unary"),
    "waiting",
)
WORDS = (
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bsubgrpc\.client\.aio\b", "subgrpc.client"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\b(_?)Async(?=[A-Z])", r"\1"),  # AsyncClient, AsyncIterator
    (r"\basync_(?=[a-z])", ""),
    (r"__a(enter|exit|iter|next)__", r"__\1__"),
)
HEADER = "# Made from aio/{name}.py by tools/make_sync_client.py: change that.\n"


def make(name: str) -> str:
    """The text of a module."""
    text = (CLIENT / "aio" / f"{name}.py").read_text()
    for pattern, replacement in WORDS:
        text = re.sub(pattern, replacement, text)
    ruff = [str(Path(sys.executable).parent / "ruff")]
    target = str(CLIENT / f"{name}.py")
    fix = ["check", "--fix-only", "--unsafe-fixes", "--quiet", "--select=I,UP028"]
    for command in (fix, ["format", "--quiet"]):
        text = subprocess.run(
            [*ruff, *command, "--stdin-filename", target, "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        ).stdout
    return HEADER.format(name=name) + text


def main() -> int:
    """Makes or compares every module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name in MODULES:
        target, text = CLIENT / f"{name}.py", make(name)
        if check and (not target.exists() or target.read_text() != text):
            stale.append(f"aio/{name}.py")
        elif not check:
            target.write_text(text)
    if stale:
        print(f"not as made from {', '.join(stale)}: run {Path(__file__).name}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
