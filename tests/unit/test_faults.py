"""Fault points: nothing without a plan; with one the process dies just there, and it is noted."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from subgrpc.agent.faults import VARIABLE
from tests.crash.points import AGENT, SERVER

ROOT = Path(__file__).resolve().parents[2]
CODE = """
from subgrpc import faults
for n in range(5):
    print(n, flush=True)
    faults.point("here")
    faults.point("there")
"""


def run(plan: str | None) -> subprocess.CompletedProcess[str]:
    """Comes to two points five times."""
    env = {key: value for key, value in os.environ.items() if key != VARIABLE}
    if plan is not None:
        env[VARIABLE] = plan
    return subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("plan", [None, "", "|elsewhere=1"])
def test_nothing_happens_without_a_plan(plan: str | None) -> None:
    """Also not with one for other points."""
    done = run(plan)
    assert (done.returncode, done.stdout) == (0, "0\n1\n2\n3\n4\n")


def test_a_process_dies_at_the_hit_that_was_planned(tmp_path: Path) -> None:
    """By SIGKILL, once the log says at which point."""
    done = run(f"{tmp_path}/log|there=3,elsewhere=1")
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "0\n1\n2\n")
    assert re.fullmatch(r"there \d+ \n", (tmp_path / "log").read_text())


def test_a_chance_of_one_is_certain() -> None:
    """A point may kill with a chance, for processes that come to it only once."""
    assert run("|here=1/1").stdout == "0\n"


def points_in(folder: Path, functions: tuple[str, ...]) -> set[str]:
    """The names of all points that code comes to."""
    calls = [
        node
        for source in folder.rglob("*.py")
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Call)
    ]
    return {
        argument.value
        for call in calls
        if ast.unparse(call.func) in functions
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }


def test_every_point_is_tried_and_documented() -> None:
    """None is forgotten by the crash tests, and none of theirs has gone."""
    found = points_in(ROOT / "subgrpc", ("faults.point", "_point", "self._point"))
    assert found == {*SERVER, *AGENT}
    documented = (ROOT / "docs" / "testing.md").read_text()
    assert [name for name in sorted(found) if f"`{name}`" not in documented] == []
