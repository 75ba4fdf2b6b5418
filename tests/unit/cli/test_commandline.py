"""The command line where no server is needed: help, wrong usage, clear errors."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from subgrpc.cli import defaults, serverfile
from subgrpc.cli.complaints import complaint
from subgrpc.cli.main import _COMMANDS, cli, run
from subgrpc.errors import FieldViolation, InvalidArgument, Unavailable


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No server answers at the default address, and nothing of the user's is touched."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("SUBGRPC_ADDRESS", f"127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("SUBGRPC_DATA_DIR", str(tmp_path / "data"))
        monkeypatch.delenv("SUBGRPC_TOKEN", raising=False)
        yield


@pytest.mark.parametrize("name", ["", *_COMMANDS])
def test_help_explains_every_command_and_its_exit_codes(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stdout, with code 0."""
    assert run([*name.split(), "--help"]) == 0
    told = capsys.readouterr()
    assert "Exit codes:" in told.out
    assert not told.err


@pytest.mark.parametrize("name", sorted(set(_COMMANDS) - {"completion", "config", "errors"}))
def test_help_shows_what_to_type(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Examples, each a line that the command would take; and every option says what it does."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    run([name, "--help"])
    _, found, shown = capsys.readouterr().out.partition("Examples:\n")
    lines = [each.strip() for each in shown.partition("\n\n")[0].splitlines()]
    assert found
    assert any(each.startswith(f"subgrpc {name}") for each in lines)
    for param in command.params:
        assert not isinstance(param, click.Option) or param.help, param.name
    for line in lines:
        words = shlex.split(line.partition("&&")[0].partition(" > ")[0], comments=True)
        if words[:2] == ["subgrpc", name] and "--" not in words:
            command.make_context(name, words[2:])


@pytest.mark.parametrize("name", ["", *_COMMANDS])
def test_help_fits_any_terminal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 columns are few, and enough."""
    monkeypatch.setenv("COLUMNS", "20")
    assert run([*name.split(), "--help"]) == 0


def test_help_does_not_load_grpc() -> None:
    """`--help` is typed often and must not take seconds."""
    script = (
        "import sys; from subgrpc.cli.main import run; run(['run', '--help']); "
        "sys.exit(bool({'grpc', 'google.protobuf', 'yaml', 'sqlmodel'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["lst"], "Did you mean 'list'?"),
        (["zzz"], "No such command"),
        (["run"], "Give a spec, or a command after --"),
        (["run", "--"], "nothing stands behind it"),
        (["run", "a.yaml", "--", "x"], "a.yaml stands before it"),
        (["run", "python", "train.py"], "subgrpc run -- python train.py"),
        (["run", "echo"], "subgrpc run -- echo"),
        (["run", "--cpu", "2", "a.yaml"], "a spec has resources"),
        (["run", "--env", "X", "--", "x"], "is not KEY=VALUE"),
        (["run", "--timeout", "soon", "--", "x"], "is not a span of time"),
        (["list", "--limit", "-1"], "x>=0"),
        (["up", "--local", "cpu"], "is not KEY=VALUE"),
    ],
)
def test_wrong_usage_says_what_is_right(
    line: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code 2, on stderr."""
    assert run(line) == 2
    seen = capsys.readouterr()
    assert told in seen.err
    assert not seen.out


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (["status"], 3),
        (["list"], 1),
        (["get", "x"], 1),
        (["tasks", "x"], 1),
        (["events", "x"], 1),
        (["clusters"], 1),
        (["watch"], 1),
        (["logs", "-f", "x"], 1),
        (["cancel", "x"], 1),
        (["delete", "x"], 1),
        (["wait", "x"], 125),
        (["run", "--", "true"], 125),
    ],
)
def test_without_a_server_every_command_says_how_to_get_one(
    line: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a code that `run` and `wait` keep apart from those of experiments."""
    assert run(line) == code
    told = capsys.readouterr().err
    assert "cannot be reached: Connection refused" in told
    assert "subgrpc up --detach" in told
    assert "Traceback" not in told


def test_a_bad_spec_is_refused_before_anything_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the file's own keys and lines."""
    spec = tmp_path / "bad.yaml"
    spec.write_text("comand: x\nreplicas: two\n")
    assert run(["run", str(spec)]) == 125
    told = capsys.readouterr().err
    assert "2 mistakes" in told
    assert f"{spec}:1:1: comand: is no known key; did you mean 'command'?" in told
    assert f"{spec}:2:11: replicas: must be a whole number" in told
    assert run(["run", str(tmp_path / "none.yaml")]) == 125
    assert "No such file" in capsys.readouterr().err


def test_down_without_a_server_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """It has what it wants."""
    assert run(["down"]) == 0
    assert "no server runs in" in capsys.readouterr().err


def test_down_never_ends_a_process_that_only_has_the_same_id(tmp_path: Path) -> None:
    """After a crash the id may be anybody's: the start time tells."""
    data = tmp_path / "data"
    data.mkdir()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        made = serverfile.write(data, ["127.0.0.1:1"], "1")
        text = (data / "server.json").read_text()
        (data / "server.json").write_text(
            text.replace(f'"pid": {made.pid}', f'"pid": {stranger.pid}')
        )
        assert run(["down"]) == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_server_file_knows_its_own_process(tmp_path: Path) -> None:
    """It is alive while it runs, and not when it ended; damaged files say nothing."""
    made = serverfile.write(tmp_path, ["127.0.0.1:1"], "1")
    assert serverfile.read(tmp_path) == made
    assert made.pid == os.getpid()
    assert made.is_alive()
    serverfile.remove(tmp_path)
    assert serverfile.read(tmp_path) is None
    for text in ("", "[]", "{}", '{"pid": "x"}', "\x00"):
        (tmp_path / "server.json").write_text(text)
        assert serverfile.read(tmp_path) is None
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert serverfile.start_time(gone.pid) == ""


def test_the_data_folder_is_where_xdg_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Own variable, XDG's, the home folder; a relative XDG path is ignored, as XDG says."""
    assert defaults.data_dir().name == "data"
    monkeypatch.delenv("SUBGRPC_DATA_DIR")
    monkeypatch.setenv("XDG_DATA_HOME", "/xdg")
    assert defaults.data_dir() == Path("/xdg/subgrpc")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert defaults.data_dir() == Path("/home/me/.local/share/subgrpc")


def test_errors_for_people_name_every_mistake_and_nothing_that_drives_a_terminal() -> None:
    """One mistake in one line, several below each other."""
    one = InvalidArgument(violations=[FieldViolation("cpu", "is \x1b[31mred")])
    assert complaint(one).splitlines()[0] == "error: cpu: is  [31mred"
    two = InvalidArgument(
        violations=[FieldViolation("a", "x"), FieldViolation("b", "y")],
        metadata={"omittedViolations": "7"},
    )
    told = complaint(two).splitlines()
    assert told[:-1] == ["error: 2 mistakes:", "  a: x", "  b: y", "  and 7 more"]
    assert "Try again in 1.5 s." in complaint(Unavailable("busy", reason="X", retry_after=1.5))


def test_a_closed_pipe_is_harmless(tmp_path: Path) -> None:
    """`| head` ends the command quietly with the code of SIGPIPE."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "subgrpc.cli.main", "--help"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("line", "code"),
    [("--help >&-", 0), ("run -- true 2>&-", 125), ("run -- true <&- >&- 2>&-", 125)],
)
def test_closed_standard_streams_are_harmless(line: str, code: int) -> None:
    """What is said goes nowhere, and the exit code is the same."""
    shell = f'exec "$0" -m subgrpc.cli.main {line}'
    command = ["sh", "-c", shell, sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["up", "down"])
def test_an_empty_data_folder_is_not_the_current_one(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--data-dir "$UNSET"` must not fill the folder in which somebody happens to be."""
    assert run([command, "--data-dir", ""]) == 2
    assert "name a folder" in capsys.readouterr().err
