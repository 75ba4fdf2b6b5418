"""What the documents tell newcomers to type works, typed as it stands there, from top to bottom."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BIN = Path(sys.executable).parent
INSTALLING = ("make ", "pip ")
"""What blocks begin with that were done before: the tests run where subgrpc is installed."""

# Only the address is another one: somebody else may have a server at the default one.
PREAMBLE = """set -eu -o pipefail
subgrpc() {
    if [ "$1" = up ]; then shift; command subgrpc up --listen "$SUBGRPC_ADDRESS" "$@"
    else command subgrpc "$@"; fi
}
"""


def script_of(document: Path) -> str:
    """The shell and Python code of a document as one script; its specs are files beside it."""
    lines = [PREAMBLE]
    code = re.findall(r"^```(\w+)\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)
    for language, block in code:
        if language == "sh" and not block.startswith(INSTALLING):
            lines.append(block)
        elif language == "python":
            lines.append(f"python3 - <<'PYTHON'\n{block}PYTHON\n")
        elif language == "yaml":
            lines.append(f"cat > two.yaml <<'YAML'\n{block}YAML\n")
    return "".join(lines)


pytestmark = pytest.mark.timeout(180)  # dozens of processes, one after the other


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Where nothing of subgrpc is yet: data and address are for this test."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    env = {key: value for key, value in os.environ.items() if not key.startswith("SUBGRPC_")}
    env["PATH"] = f"{BIN}:{env['PATH']}"
    env |= {"SUBGRPC_DATA_DIR": str(tmp_path / "data"), "SUBGRPC_ADDRESS": address}
    env["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    yield env
    subprocess.run([BIN / "subgrpc", "down"], env=env, check=True, capture_output=True)


def play(
    script: str, folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Runs a script in an empty folder."""
    folder.mkdir()
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


@pytest.mark.thorough
def test_getting_started_gets_one_started(tmp_path: Path, environment: dict[str, str]) -> None:
    """Each command works, and shows what the page says that it shows."""
    done = play(script_of(DOCS / "getting-started.md"), tmp_path / "here", environment)
    assert done.returncode == 0, done.stderr
    for told in (
        "epoch 10/10",
        "training\nit ended with 3\n",
        "step 1\nstep 2\nstep 3\nstep 4\n",
        "still here\n",
        "two.yaml: valid\n",
        "worker 0 of 2\n",
        "as in a shell: 127\n",
        "CommandNotFound",
        "EXCEEDS_CAPACITY\n",
        "from Python\nSUCCEEDED\n",
    ):
        assert told in done.stdout, done.stdout
    assert "help: subgrpc errors EXCEEDS_CAPACITY" in done.stderr


@pytest.mark.thorough
def test_what_the_answers_show_works(tmp_path: Path, environment: dict[str, str]) -> None:
    """On a server that is there already."""
    script = script_of(DOCS / "faq.md").replace(PREAMBLE, f"{PREAMBLE}subgrpc up --detach\n", 1)
    done = play(script, tmp_path / "here", environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("sweep=lr") == 2
    assert "'exitCode': 3" in done.stdout
    assert "http://127.0.0.1:5000\n" in done.stdout
    assert "RESUME_TOKEN_EXPIRED\n" in done.stdout


def as_typed(script: str) -> str:
    """The README's tour, with what a person does in the place of its words for it.

    NAME is an experiment that runs, a watch is ended, and a shell does not end with a command.
    """
    script = script.replace("; echo $?", " || echo $?")
    script = script.replace("subgrpc watch ", "(timeout -s INT 2 subgrpc watch || test $? = 124) ")
    script = script.replace("NAME", "tour").replace("subgrpc wait tour", "true")
    start = "subgrpc run -d --name tour -- sh -c 'echo touring; sleep 2'\n"
    return script.replace("subgrpc list\n", f"{start}subgrpc list\n", 1)


def test_the_tour_of_the_readme(tmp_path: Path, environment: dict[str, str]) -> None:
    """From `up` to `delete`, with what it says beside the commands; grpcurl where there is one."""
    script = as_typed(script_of(ROOT / "README.md"))
    script = script.replace("127.0.0.1:7411", environment["SUBGRPC_ADDRESS"])
    if shutil.which("grpcurl", path=environment["PATH"]) is None:
        script = script[: script.index("grpcurl ")]
    script = f"ln -s {ROOT}/examples .\n{script}"
    done = play(script, tmp_path / "here", environment)
    assert done.returncode == 0, done.stderr
    for shown in ("training\n3\n", "accuracy", "touring"):
        assert shown in done.stdout
