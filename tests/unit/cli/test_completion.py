"""Shell completion: scripts that shells read, and answers that come at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from subgrpc.cli.main import _COMMANDS, run


def complete(line: str, **env: str) -> tuple[list[str], str]:
    """What a shell would be offered, and which slow modules were loaded for it."""
    script = (
        "import sys; sys.argv = ['subgrpc']\n"
        "from subgrpc.cli.main import main\n"
        "try:\n    main()\n"
        "finally:\n"
        "    slow = {'grpc', 'google.protobuf', 'yaml', 'sqlmodel'} & set(sys.modules)\n"
        "    print(*slow, file=sys.stderr)"
    )
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **asked, "_SUBGRPC_COMPLETE": "bash_complete", **env},
        capture_output=True,
        text=True,
        check=True,
    )
    return [each.partition(",")[2] for each in done.stdout.splitlines()], done.stderr.strip()


def test_commands_and_options_are_offered_without_loading_grpc(tmp_path: Path) -> None:
    """Nobody waits behind Tab."""
    assert complete("subgrpc ") == (list(_COMMANDS), "")
    assert complete("subgrpc ev") == (["events"], "")
    assert complete("subgrpc --ver") == (["--version"], "")
    offered, loaded = complete("subgrpc list --fi")
    assert (offered, loaded) == (["--filter"], "")
    assert complete("subgrpc errors experiment_not") == (
        ["EXPERIMENT_NOT_FOUND", "EXPERIMENT_NOT_TERMINAL"],
        "",
    )
    assert complete("subgrpc list -o ") == (["table", "wide", "json", "yaml", "name"], "")
    folder = tmp_path / "subgrpc"
    folder.mkdir()
    (folder / "config.toml").write_text("[contexts.lab]\naddress = 'lab:1'\n")
    for line in ("subgrpc config use ", "subgrpc list --context l"):
        assert complete(line, XDG_CONFIG_HOME=str(tmp_path)) == (["lab"], "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_what_its_shell_reads(
    shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Checked by the shell itself where it is installed."""
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_SUBGRPC_COMPLETE={shell}_complete" in script
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)
    assert run(["completion", "csh"]) == 2
