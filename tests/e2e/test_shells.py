"""Completion in the shells themselves: the script that is printed, on a real server."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import Cli

BASH = """
source <(subgrpc completion bash)
while IFS= read -r line; do
    read -ra COMP_WORDS <<< "$line"
    [[ $line == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
    _subgrpc_completion subgrpc
    echo "${COMPREPLY[*]}"
done
"""
FISH = """
subgrpc completion fish | source
while read -l line
    # What stands behind a tab describes it.
    echo (complete -C "$line" | string replace -r '\\t.*' '')
end
"""
LINES = {
    "subgrpc ge": ["get"],
    "subgrpc get tabb": ["tabbed"],
    "subgrpc logs tabbed --task ": ["main/0"],
    "subgrpc logs --since": ["--since-attempt"],
    "subgrpc run --cluster ": ["local"],
    "subgrpc list --context ": ["lab"],
    "subgrpc list -o ": ["json", "name", "table", "wide", "yaml"],
    "subgrpc config u": ["use"],
    "subgrpc get no-such": [],
}


@pytest.fixture(scope="module")
def tabbed(shared: Cli) -> Cli:
    """A server with an experiment, and a context of it."""
    shared("run", "-q", "--name", "tabbed", "--", "true", code=0)
    shared("config", "set", "lab", "--address", shared.env["SUBGRPC_ADDRESS"], code=0)
    return shared


@pytest.mark.parametrize(
    ("shell", "script"),
    [
        (("bash", "--norc", "-c"), BASH),
        pytest.param(
            ("fish", "--no-config", "-c"),
            FISH,
            marks=pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish"),
        ),
    ],
    ids=["bash", "fish"],
)
def test_names_options_and_commands_are_completed(
    tabbed: Cli, shell: tuple[str, ...], script: str
) -> None:
    """Those of the server, the contexts, the values of options."""
    done = subprocess.run(
        [*shell, script],
        input="".join(f"{line}\n" for line in LINES),
        env=tabbed.env,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert done.stderr == ""
    offered = [sorted(line.split()) for line in done.stdout.split("\n")[: len(LINES)]]
    assert dict(zip(LINES, offered, strict=True)) == LINES


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_completes_what_is_typed(tabbed: Cli, tmp_path: Path) -> None:
    """In an interactive shell, as only there its completion runs."""
    ours, theirs = os.openpty()
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"],
        env={**tabbed.env, "TERM": "dumb", "PS1": "> "},
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        os.write(ours, b"autoload -U compinit; compinit -u -d ./dump\n")
        os.write(ours, b"source <(subgrpc completion zsh); echo rea''dy\n")
        reads(ours, b"ready\r\n")
        for typed, shown in (
            (b"subgrpc get tabb", b"subgrpc get tabbed "),
            (b"subgrpc logs tabbed --task ", b"--task main/0 "),
            (b"subgrpc run --cluster ", b"--cluster local "),
            (b"subgrpc list --context ", b"--context lab "),
            (b"subgrpc logs --since", b"--since-attempt "),
        ):
            os.write(ours, typed + b"\t")
            reads(ours, shown)
            os.write(ours, b"\x15")  # forgets the line
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)


def reads(terminal: int, text: bytes, seconds: float = 30.0) -> None:
    """Waits until something is shown."""
    seen, deadline = b"", time.monotonic() + seconds
    while text not in seen:
        left = deadline - time.monotonic()
        assert left > 0, f"not shown: {text!r}; shown: {seen!r}"
        if select.select([terminal], [], [], left)[0]:
            seen += os.read(terminal, 65536)
