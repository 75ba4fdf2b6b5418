"""What the repository itself promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def requirements() -> list[str]:
    """Every requirement of the distribution, those of its extras too."""
    found = [*PROJECT["dependencies"], *(each for extra in EXTRAS.values() for each in extra)]
    return [each for each in found if not each.startswith("subgrpc[")]


@pytest.mark.parametrize("requirement", requirements())
def test_requirements_have_a_lower_bound(requirement: str) -> None:
    """Without one, a resolver silently picks a release from long ago."""
    assert any(each.operator in (">=", "==", "~=") for each in Requirement(requirement).specifier)


@pytest.mark.parametrize("requirement", requirements())
def test_constraints_pin_every_requirement(requirement: str) -> None:
    """`make constraints` was run: nothing is installed at a version that nobody chose."""
    wanted = re.sub(r"[-_.]+", "-", Requirement(requirement).name).lower()
    pinned = re.findall(r"^([a-z0-9-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert wanted in pinned


def test_constraints_hold_names_and_versions_only() -> None:
    """No address, option or path of the machine that resolved them."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.match(r"^[a-z0-9-]+==[\w.]+( ; .*)?$", line)] == []


def test_a_folder_without_code_is_no_package() -> None:
    """Folders that only hold distributions would shadow them as packages."""
    for folder in ("proto", "drivers", "storage"):
        assert not (ROOT / folder / "__init__.py").exists()


def test_scripts_are_what_the_shell_can_read() -> None:
    """Each script under tools, .ci and the testbeds parses."""
    scripts = [
        *(path for path in (ROOT / "tools").iterdir() if path.suffix == "" and path.is_file()),
        ROOT / ".ci" / "run",
        *(ROOT / "tests" / "testbeds").glob("*/up"),
    ]
    for script in scripts:
        shell = "bash" if "bash" in script.read_text().splitlines()[0] else "sh"
        subprocess.run([shell, "-n", str(script)], check=True)
