"""Virtual environments of the peers, each of its own, below build/ (git-ignored)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.processes import ROOT
from benchmarks.report import Skipped

VENVS = ROOT / "build" / "peers"
REQUIREMENTS = Path(__file__).with_name("requirements")
SECONDS = 1800.0
"""Ray alone is 300 MB, and the network may be slow."""


def interpreter(name: str, venvs: Path = VENVS) -> Path:
    """The Python of a peer's environment, which is brought up to its requirements.

    Raises:
        Skipped: it cannot be installed here; the message says why.
    """
    python = venvs / name / "bin" / "python"
    if not python.exists():
        _uv("venv", "--quiet", "--python", sys.executable, "--clear", str(venvs / name))
    wanted = str(REQUIREMENTS / f"{name}.txt")
    _uv("pip", "install", "--quiet", "--python", str(python), "--requirement", wanted)
    _compile(python, Path(wanted).read_text())
    return python


def version(python: Path, distribution: str) -> str:
    """The version of a distribution in an environment."""
    program = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    done = subprocess.run(
        [str(python), "-I", "-c", program, distribution],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


def _compile(python: Path, requirements: str) -> None:
    """Compiles what is installed, as pip does when it installs.

    Where PYTHONDONTWRITEBYTECODE is set neither uv nor the peer does it, and the peer would compile
    all that it imports at each start. Files that are no Python of this version are left alone.
    """
    done = python.parent.parent / ".compiled"
    if not done.exists() or done.read_text() != requirements:
        library = str(python.parent.parent / "lib")
        command = [str(python), "-m", "compileall", "-qq", "-j", "0", library]
        subprocess.run(command, check=False, timeout=SECONDS)
        done.write_text(requirements)


def _uv(*arguments: str) -> None:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "uv", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise Skipped(f"cannot be installed within {SECONDS:.0f} s") from error
    if done.returncode:
        said = " ".join(done.stderr.split()) or "uv failed and said nothing"
        raise Skipped(f"cannot be installed: {said[-400:]}")
