"""`up`, `down`, `status`: servers that come, go and are killed; experiments that do not care."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import BIN, Cli, until

COUNT = "import time\nfor n in range({}):\n    print(n, flush=True); time.sleep({})"


def counting(count: int, pause: float) -> list[str]:
    """A command that counts."""
    return [sys.executable, "-c", COUNT.format(count, pause)]


def numbers(count: int) -> bytes:
    """What it prints."""
    return b"".join(b"%d\n" % n for n in range(count))


def test_a_killed_server_loses_nothing(own: Cli) -> None:
    """kill -9 in the middle of a run that is followed; the next start takes up both ends."""
    own.up()
    run = own.start("run", "-q", "--name", "counted", "--", *counting(200, 0.02))
    assert run.stdout is not None
    first = run.stdout.readline() + run.stdout.readline()
    own.kill()
    own.up(port=own.port)
    rest, told = run.communicate(timeout=45)
    assert run.returncode == 0, told
    assert first + rest == numbers(200)
    assert own("logs", "counted", code=0).stdout == numbers(200)
    assert own.state("counted") == "SUCCEEDED"


def test_a_server_killed_again_and_again_loses_nothing(own: Cli) -> None:
    """Three times; several tasks, both streams, whole lines."""
    own.up()
    go = own.folder / "go"
    (own.folder / "spec.yaml").write_text(
        f"""
name: often
task_groups:
  - role: a
    replicas: 2
    command: |
      for n in $(seq 120); do echo $n; echo e$n >&2; sleep 0.03; done
      until test -e "{go}"; do sleep 0.05; done
"""
    )
    run = own.start("run", "-q", "spec.yaml")
    for _ in range(3):
        own.reaches("often", "RUNNING")
        own.kill()
        own.up(port=own.port)
    go.touch()
    out, err = run.communicate(timeout=45)
    assert run.returncode == 0
    for index in range(2):
        mark = f"[a-{index}] "
        mine = [line.removeprefix(mark) for line in out.decode().split("\n") if mark in line]
        assert mine == [str(n) for n in range(1, 121)]
        mine = [line.removeprefix(mark) for line in err.decode().split("\n") if mark in line]
        assert mine == [f"e{n}" for n in range(1, 121)]


def test_a_run_that_ends_while_no_server_is_there_is_found_complete(own: Cli) -> None:
    """Its output and exit code wait for the next start."""
    own.up()
    go = own.folder / "go"
    script = f"until test -e '{go}'; do sleep 0.05; done; seq 0 49"
    own("run", "-d", "--name", "alone", "--", "sh", "-c", script, code=0)
    own.reaches("alone", "RUNNING")
    own.kill()
    go.touch()
    runs = own.data / "drivers"
    until(lambda: any(b"49\n" in p.read_bytes() for p in runs.rglob("stdout")), "ended alone")
    own.up(port=own.port)
    own("wait", "--timeout", "20s", "alone", code=0)
    assert own("logs", "alone", code=0).stdout == numbers(50)


def test_down_leaves_experiments_running_and_followers_go_on(own: Cli) -> None:
    """A follower rides over the restart without a lost or doubled byte."""
    own.up()
    port = own.port
    own("run", "-d", "--name", "longer", "--", *counting(150, 0.02), code=0)
    follower = own.start("logs", "-f", "longer")
    assert follower.stdout is not None
    first = follower.stdout.readline()
    done = own("down", code=0)
    assert b"running experiments go on" in done.stdout
    assert own("status").returncode == 3
    own.up(port=port)
    rest, told = follower.communicate(timeout=45)
    assert follower.returncode == 0, told
    assert first + rest == numbers(150)
    own("wait", "longer", code=0)


def test_a_second_server_on_the_same_folder_is_refused(own: Cli) -> None:
    """It names the process that has it, and harms nothing."""
    own.up()
    done = own("up", "--detach", "--listen", "127.0.0.1:0", code=1)
    assert str(own.pid).encode() in done.stderr
    assert b"subgrpc down" in done.stderr
    done = own("up", "--listen", "127.0.0.1:0", code=1)
    assert b"Traceback" not in done.stderr
    own("run", "-q", "--", "true", code=0)
    own("down", code=0)


def test_a_second_server_on_the_same_port_is_refused(own: Cli, tmp_path: Path) -> None:
    """Before it touches anything."""
    own.up()
    address = own.env["SUBGRPC_ADDRESS"]
    words = ["--listen", address, "--data-dir", str(tmp_path / "other")]
    for detach in (["--detach"], []):
        done = own("up", *detach, *words, code=1)
        assert b"in use" in done.stderr
        assert b"--listen" in done.stderr
    own("run", "-q", "--", "true", code=0)


def test_a_listener_for_others_needs_tls_and_credentials(own: Cli) -> None:
    """Refused at the start, with the options that are missing."""
    done = own("up", "--listen", "0.0.0.0:0", code=1)
    assert b"--tls-cert" in done.stderr
    assert b"--token-file" in done.stderr


@pytest.mark.sqlite
def test_a_damaged_database_is_refused_and_left_alone(own: Cli) -> None:
    """Never overwritten."""
    own.up()
    own("down", code=0)
    (database,) = [p for p in own.data.iterdir() if p.suffix in (".db", ".sqlite", ".sqlite3")]
    database.write_bytes(b"this is no database" * 1000)
    before = database.read_bytes()
    done = own("up", "--detach", "--listen", "127.0.0.1:0", code=1)
    assert b"error:" in done.stderr
    assert database.read_bytes() == before


def test_a_server_in_the_foreground_says_when_it_is_ready_and_stops_on_term(own: Cli) -> None:
    """One line on stdout; exit code 0."""
    server = own.start("up", "--listen", "127.0.0.1:0", "-o", "json")
    assert server.stdout is not None
    told = b""
    while not told.rstrip().endswith(b"}"):
        told += server.stdout.readline()
    own.env["SUBGRPC_ADDRESS"] = json.loads(told)["addresses"][0]
    own("status", code=0)
    server.send_signal(signal.SIGTERM)
    assert server.wait(20) == 0
    assert not (own.data / "server.json").exists()


def test_a_unix_socket_works_from_any_folder(own: Cli) -> None:
    """A relative path is the caller's."""
    own("up", "--detach", "--listen", "unix:here.sock", code=0)
    own.env["SUBGRPC_ADDRESS"] = f"unix:{own.folder}/here.sock"
    assert own("run", "-q", "--", "pwd", code=0).stdout.strip() == str(own.folder).encode()


def test_tokens_are_asked_for(own: Cli) -> None:
    """Without one: a clear error; with one: its owner is the creator."""
    (own.folder / "tokens").write_text("s3cret-s3cret-s3cret alice\n")
    (own.folder / "tokens").chmod(0o600)
    own("up", "--detach", "--listen", "127.0.0.1:0", "--token-file", "tokens", code=0)
    own.env["SUBGRPC_ADDRESS"] = json.loads((own.data / "server.json").read_text())["addresses"][0]
    assert b"SUBGRPC_TOKEN" in own("list", code=1).stderr
    assert b"SUBGRPC_TOKEN" in own("status", code=1).stderr
    own.env["SUBGRPC_TOKEN"] = "s3cret-s3cret-s3cret"
    own("run", "-q", "--name", "hers", "--", "true", code=0)
    assert own.json("get", "hers")["creator"] == "alice"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_tls_between_machines(own: Cli) -> None:
    """A certificate of its own authority, checked by name."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        cwd=own.folder,
        check=True,
        capture_output=True,
    )
    own(
        "up",
        "-d",
        "--listen",
        "127.0.0.1:0",
        "--tls-cert",
        "cert.pem",
        "--tls-key",
        "key.pem",
        code=0,
    )
    own.env["SUBGRPC_ADDRESS"] = json.loads((own.data / "server.json").read_text())["addresses"][0]
    own("list", code=1)
    own.env["SUBGRPC_TLS_CA"] = "cert.pem"
    own("run", "-q", "--", "true", code=0)


def test_status_list_and_get_for_people_and_programs(shared: Cli) -> None:
    """Tables and JSON say the same."""
    shared("run", "-q", "--name", "shown", "-l", "a=b", "--", "sh", "-c", "exit 2", code=2)
    told = shared("status", code=0).stdout.decode()
    assert "local (default)" in told
    assert "HEALTHY" in told
    found = shared.json("status")
    assert found["reachable"] is True
    assert found["version"]
    assert found["clusters"][0]["health"] == "CLUSTER_HEALTH_HEALTHY"
    assert "shown" in shared("list", code=0).stdout.decode()
    got = shared("get", "shown", code=0).stdout.decode()
    assert "FAILED" in got
    assert "main-0" in got
    assert shared.json("get", "teams/default/experiments/shown")["labels"] == {"a": "b"}


def test_list_tells_of_more(shared: Cli) -> None:
    """On stderr; stdout has exactly as many as asked for."""
    for _ in range(3):
        shared("run", "-q", "-d", "-l", "set=three", "--", "true", code=0)
    words = ["list", "--filter", "labels.set = three"]
    done = shared(*words, "--limit", "2", code=0)
    assert len(done.stdout.splitlines()) == 3  # with the header
    assert b"more than 2" in done.stderr
    assert len(shared(*words, "--limit", "0", code=0).stdout.splitlines()) == 4
    assert b"did you mean" in shared("list", "--filter", "stat = RUNNING", code=1).stderr.lower()


def test_delete_frees_the_name(shared: Cli) -> None:
    """A running one needs --force; a second delete says that there is none."""
    shared("run", "-d", "--name", "gone", "--", "sleep", "600", code=0)
    shared.reaches("gone", "RUNNING")
    assert b"--force" in shared("delete", "gone", code=1).stderr
    shared("delete", "--force", "gone", code=0)
    assert b"subgrpc list" in shared("delete", "gone", code=1).stderr
    shared("run", "-q", "--name", "gone", "--", "true", code=0)


def test_the_example_trains(shared: Cli) -> None:
    """examples/digits through the real path, if scikit-learn is installed."""
    spec = Path(__file__).parents[2] / "examples" / "digits" / "experiment.yaml"
    done = shared("run", "-q", "-e", "EPOCHS=3", str(spec))
    if b"No module named 'sklearn'" in done.stderr:
        assert done.returncode == 1
        return
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert [line.split("/")[0] for line in lines[1:4]] == ["epoch  1", "epoch  2", "epoch  3"]
    assert lines[-1].startswith("accuracy: 0.")


def test_the_command_is_installed() -> None:
    """What everything else here runs is what users run."""
    assert os.access(BIN / "subgrpc", os.X_OK)


def test_a_password_among_the_options_is_refused(own: Cli) -> None:
    """`ps` would show it; nor is it shown where the database cannot be read."""
    url = "postgresql://ann:hunter2@127.0.0.1:1/none"
    done = own("up", "--database", url, code=2)
    assert b"SUBGRPC_DATABASE" in done.stderr
    own.env["SUBGRPC_DATABASE"] = f"{url}?no_such_option=1"
    done = own("up", "--detach", "--listen", "127.0.0.1:0", code=1)
    assert b"DATABASE_URL_INVALID" in done.stderr
    assert b"hunter2" not in done.stderr + (own.data / "server.log").read_bytes()


@pytest.mark.postgres
def test_a_server_in_the_background_does_not_show_its_database(own: Cli) -> None:
    """Neither in its command line nor in its log."""
    own.up()
    shown = Path(f"/proc/{own.pid}/cmdline").read_bytes() + (own.data / "server.log").read_bytes()
    assert own.env["SUBGRPC_DATABASE"].encode() not in shown
    own("run", "-q", "--", "true", code=0)


@pytest.mark.postgres
def test_two_servers_share_a_database(own: Cli, tmp_path: Path) -> None:
    """What is created at one is seen, watched and waited for at the other; `local` is its own."""
    own.up()
    first = own.env["SUBGRPC_ADDRESS"]
    words = ("--data-dir", str(tmp_path / "second"))
    told = own.json("up", "--detach", "--listen", "127.0.0.1:0", *words)
    try:
        second = told["addresses"][0]
        own("run", "-q", "-d", "--name", "there", "--", "echo", "hello", code=0)
        own.env["SUBGRPC_ADDRESS"] = second
        own("wait", "--timeout", "30s", "there", code=0)
        assert own.state("there") == "SUCCEEDED"
    finally:
        own.env["SUBGRPC_ADDRESS"] = first
        own("down", *words)
