"""`subgrpc run`: the experiment's exit code and its output, byte for byte."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Cli, until


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 3"], 3),
        (["sh", "-c", "exit 255"], 255),
        (["sh", "-c", "kill -9 $$"], 137),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["there-is-no-such-command"], 127),
        (["/etc/passwd"], 126),
    ],
)
def test_run_returns_the_exit_code_of_the_command(
    shared: Cli, command: list[str], code: int
) -> None:
    """What a shell would return, for CI."""
    shared("run", "--", *command, code=code)


def test_a_command_that_does_not_exist_is_named(shared: Cli) -> None:
    """With what was looked for."""
    done = shared("run", "--", "there-is-no-such-command", code=127)
    assert b"CommandNotFound" in done.stderr
    assert b"there-is-no-such-command" in done.stderr


def test_output_is_byte_exact_and_streams_stay_apart(shared: Cli) -> None:
    """Binary, no newline at the end, nothing mixed."""
    script = (
        "import sys, os\n"
        "os.write(1, bytes(range(256)) * 1000 + b'no newline')\n"
        "os.write(2, bytes(reversed(range(256))) * 10)\n"
    )
    done = shared("run", "-q", "--", sys.executable, "-c", script, code=0)
    assert done.stdout == bytes(range(256)) * 1000 + b"no newline"
    assert done.stderr == bytes(reversed(range(256))) * 10


def test_a_very_long_line_arrives_whole(shared: Cli) -> None:
    """20 MB without a newline."""
    script = "import sys; [sys.stdout.write('x' * 1000000) for _ in range(20)]"
    done = shared("run", "-q", "--", sys.executable, "-c", script, code=0)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(b"x" * 20_000_000).digest()


def test_logs_prints_what_run_printed(shared: Cli) -> None:
    """Later, as often as asked, each stream where it belongs."""
    shared("run", "--name", "twice", "--", "sh", "-c", "echo out; echo err >&2", code=0)
    for words in (["logs", "twice"], ["logs", "-f", "twice"]):
        done = shared(*words, code=0)
        assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
    assert shared("logs", "--stream", "stderr", "twice", code=0).stdout == b""
    assert shared("logs", "--task", "main-0", "--attempt", "1", "twice", code=0).stdout == b"out\n"
    lines = shared("logs", "-o", "json", "twice", code=0).stdout.splitlines()
    assert sorted(json.loads(line)["chunk"]["text"] for line in lines if b'"chunk"' in line) == [
        "err\n",
        "out\n",
    ]


def test_tail_starts_with_the_last_lines(shared: Cli) -> None:
    """As `tail -n` does."""
    shared("run", "-q", "--name", "many", "--", "seq", "1000", code=0)
    assert shared("logs", "--tail", "2", "many", code=0).stdout.endswith(b"999\n1000\n")
    assert shared("logs", "--tail", "2", "many", code=0).stdout.count(b"\n") <= 3


def test_run_works_in_the_current_folder(shared: Cli, tmp_path: Path) -> None:
    """As if there were no server between."""
    (tmp_path / "here").write_text("found")
    done = shared("run", "-q", "--", "cat", "here", code=0, cwd=tmp_path)
    assert done.stdout == b"found"


def test_a_command_is_not_read_by_a_shell(shared: Cli) -> None:
    """Spaces, quotes, dollars, dashes and newlines arrive as they are."""
    words = ["a b", "$HOME", "'", '"', "--", "-x", "*", "two\nlines", "ü"]
    script = "import sys, json; print(json.dumps(sys.argv[1:]))"
    done = shared("run", "-q", "--", sys.executable, "-c", script, *words, code=0)
    assert json.loads(done.stdout) == words


def test_an_argument_that_is_not_utf8_is_refused(shared: Cli) -> None:
    """Clearly: no message of the API can hold it."""
    done = shared("run", "--", "echo", os.fsdecode(b"caf\xe9"), code=125)
    assert b"not UTF-8" in done.stderr


def test_run_with_json_prints_one_document(shared: Cli) -> None:
    """stdout is the experiment; the output of the tasks goes to stderr."""
    done = shared("run", "-q", "-o", "json", "--", "sh", "-c", "echo hello; exit 4", code=4)
    experiment = json.loads(done.stdout)
    assert experiment["state"] == "EXPERIMENT_STATE_FAILED"
    assert experiment["firstFailure"]["exitCode"] == 4
    assert done.stderr == b"hello\n"


def test_a_spec_runs_beside_its_file(shared: Cli, tmp_path: Path) -> None:
    """Several roles, each line with its task; environment and labels as written."""
    (tmp_path / "data").write_text("beside")
    (tmp_path / "spec.yaml").write_text(
        """
name: two-roles
labels: {team: vision}
env: {GREETING: hello, WHO: nobody}
task_groups:
  - role: ps
    command: echo "$GREETING $WHO"; cat data
  - role: worker
    replicas: 2
    command: echo "$GREETING $WHO $SUBGRPC_ROLE $SUBGRPC_INDEX"
    env: {WHO: you}
driver_options:
  local: {working_directory: .}
"""
    )
    done = shared("run", "-q", "-e", "GREETING=good day", str(tmp_path / "spec.yaml"), code=0)
    assert sorted(done.stdout.decode().splitlines()) == [
        "[ps-0] beside",
        "[ps-0] good day nobody",
        "[worker-0] good day you worker 0",
        "[worker-1] good day you worker 1",
    ]
    found = shared.json("list", "--filter", 'labels.team = "vision"')["experiments"]
    assert [each["name"] for each in found] == ["teams/default/experiments/two-roles"]


def test_the_first_role_that_fails_decides(shared: Cli, tmp_path: Path) -> None:
    """The rest is stopped; its exit code is the experiment's."""
    (tmp_path / "spec.yaml").write_text(
        """
task_groups:
  - {role: good, command: sleep 60}
  - {role: bad, command: sleep 0.2; exit 9}
termination_grace_period: 1
"""
    )
    done = shared("run", str(tmp_path / "spec.yaml"), code=9)
    assert b"bad-0" in done.stderr


def test_retries_are_followed_and_told(shared: Cli, tmp_path: Path) -> None:
    """Every attempt's output, in order; the last one decides."""
    (tmp_path / "spec.yaml").write_text(
        """
name: again
command: echo "try $SUBGRPC_ATTEMPT"; test "$SUBGRPC_ATTEMPT" = 3
retry_policy: {max_retries: 5, initial_backoff: 100ms}
"""
    )
    done = shared("run", str(tmp_path / "spec.yaml"), code=0)
    assert done.stdout == b"try 1\ntry 2\ntry 3\n"
    assert b"attempt 3" in done.stderr
    assert shared("logs", "--attempt", "2", "again", code=0).stdout == b"try 2\n"


def test_a_secret_reaches_the_task_and_nothing_else(shared: Cli, tmp_path: Path) -> None:
    """A file in the data folder; an experiment whose secret is missing is refused."""
    folder = shared.data / "secrets" / "default"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hf-token").write_text("s3cret\n")
    spec = tmp_path / "spec.yaml"
    spec.write_text("name: hidden\ncommand: printf %s $T\nenv: {T: {secret: hf-token}}\n")
    assert shared("run", "-q", str(spec), code=0).stdout == b"s3cret"
    assert b"s3cret" not in shared("get", "-o", "json", "hidden", code=0).stdout
    spec.write_text("command: printf %s $T\nenv: {T: {secret: other}}\n")
    assert b"other" in shared("run", "-q", str(spec), code=125).stderr


def test_a_timeout_ends_it_with_124(shared: Cli) -> None:
    """As `timeout` does."""
    done = shared("run", "--timeout", "0.5s", "--", "sleep", "60", code=124)
    assert b"Timeout" in done.stderr


def test_what_the_server_refuses_is_told_with_the_files_keys(shared: Cli, tmp_path: Path) -> None:
    """Code 125: subgrpc's own, not the experiment's."""
    (tmp_path / "spec.yaml").write_text("command: x\nresources: {cpu: 1000000000000}\n")
    done = shared("run", str(tmp_path / "spec.yaml"), code=125)
    assert b"spec.yaml:2:18: resources.cpu:" in done.stderr
    (tmp_path / "spec.yaml").write_text("command: x\nname: NOT_A_NAME\n")
    assert b"spec.yaml:2:7: name:" in shared("run", str(tmp_path / "spec.yaml"), code=125).stderr
    done = shared("run", "--cluster", "nowhere", "--", "true", code=125)
    assert b"nowhere" in done.stderr
    assert b"local" in done.stderr


def test_a_name_is_taken_once(shared: Cli) -> None:
    """And the error says what to do."""
    shared("run", "-q", "--name", "taken", "--", "true", code=0)
    done = shared("run", "-q", "--name", "taken", "--", "true", code=125)
    assert b"subgrpc delete" in done.stderr


def test_detach_prints_the_name_and_wait_returns_the_code(shared: Cli) -> None:
    """For scripts."""
    name = shared("run", "-d", "--", "sh", "-c", "exit 6", code=0).stdout.decode().strip()
    shared("wait", name, code=6)
    shared("wait", "--timeout", "5s", name, code=6)


def test_wait_gives_up_after_its_timeout(shared: Cli) -> None:
    """With 124, and the experiment goes on."""
    name = shared("run", "-d", "--", "sleep", "60", code=0).stdout.decode().strip()
    done = shared("wait", "--timeout", "0.3s", name, code=124)
    assert b"goes on" in done.stderr
    shared("cancel", name, code=0)
    shared("wait", name, code=130)


def test_cancel_ends_it_and_run_returns_130(shared: Cli) -> None:
    """While somebody follows."""
    run = shared.start("run", "--name", "endless", "--", "sleep", "600")
    shared.reaches("endless", "RUNNING")
    shared("cancel", "-m", "enough", "endless", code=0)
    _, told = run.communicate(timeout=30)
    assert run.returncode == 130
    assert b"CANCELLED" in told


def test_a_command_that_ignores_term_is_killed_after_its_grace(shared: Cli, tmp_path: Path) -> None:
    """Its children with it."""
    (tmp_path / "spec.yaml").write_text(
        """
name: stubborn
command: trap "" TERM; sleep 600 & echo ready; wait; wait; sleep 600
termination_grace_period: 500ms
"""
    )
    shared("run", "-d", str(tmp_path / "spec.yaml"), code=0)
    until(lambda: shared("logs", "stubborn").stdout == b"ready\n", "ready")
    shared("cancel", "stubborn", code=0)
    shared("wait", "--timeout", "20s", "stubborn", code=130)


def test_interrupting_run_leaves_the_experiment_running(shared: Cli) -> None:
    """Ctrl-C ends the following, and says how to go on."""
    run = shared.start("run", "--name", "goes-on", "--", "sh", "-c", "echo started; sleep 600")
    assert run.stdout is not None
    assert run.stdout.readline() == b"started\n"
    run.send_signal(signal.SIGINT)
    _, told = run.communicate(timeout=20)
    assert run.returncode == 130
    assert b"subgrpc logs -f goes-on" in told
    assert b"Traceback" not in told
    assert shared.state("goes-on") == "RUNNING"
    shared("delete", "--force", "goes-on", code=0)


def test_a_reader_that_goes_away_is_harmless(shared: Cli) -> None:
    """`| head -1`: no traceback, and the experiment runs on to its end."""
    run = shared.start("run", "--name", "piped", "--", "sh", "-c", "yes | head -c 5000000")
    assert run.stdout is not None
    assert run.stderr is not None
    assert run.stdout.readline() == b"y\n"
    run.stdout.close()
    told = run.stderr.read()
    assert run.wait(20) == 141
    assert b"Traceback" not in told
    assert b"Exception" not in told
    shared("wait", "piped", code=0)
    list_into_closed = f"'{os.fspath(Path(sys.executable).parent)}/subgrpc' list | true"
    done = subprocess.run(["bash", "-c", list_into_closed], env=shared.env, capture_output=True)
    assert done.stderr == b""


def test_why_it_waits_is_told_while_it_waits(own: Cli) -> None:
    """With figures, on stderr."""
    own.up("--local", "cpu=1")
    own("run", "-d", "--name", "first", "--cpu", "1", "--", "sleep", "600", code=0)
    own.reaches("first", "RUNNING")
    run = own.start("run", "--name", "second", "--cpu", "1", "--", "true")
    assert run.stderr is not None
    said = [run.stderr.readline().decode() for _ in range(2)]
    assert "second is QUEUED" in said[1]
    assert "cpu" in said[1]
    own("delete", "--force", "first", code=0)
    run.communicate(timeout=30)
    assert run.returncode == 0
