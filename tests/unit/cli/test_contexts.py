"""Contexts: servers by name, kept in a file that people may also write."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import click
import pytest

from subgrpc.cli import contexts
from subgrpc.cli.main import run
from subgrpc.cli.options import Connection, connection_options
from subgrpc.errors import InvalidArgument, NotFound


@pytest.fixture(autouse=True)
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A configuration of its own, and nothing chosen by variables."""
    for name in ("ADDRESS", "CONTEXT", "TOKEN", "TLS_CA", "TLS_CERT", "TLS_KEY"):
        monkeypatch.delenv(f"SUBGRPC_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "subgrpc" / "config.toml"


def chosen(*words: str) -> Connection:
    """The server that a command line means."""
    found: list[Connection] = []

    @click.command()
    @connection_options
    def command(connection: Connection) -> None:
        found.append(connection)

    command.main(list(words), standalone_mode=False)
    return found[0]


def test_set_use_list_current_and_delete(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As kubectl's; data on stdout, advice on stderr."""
    assert run(["config", "current"]) == 1
    assert run(["config", "set", "lab", "--address", "gpu.example.com:443"]) == 0
    assert "subgrpc config use lab" in capsys.readouterr().err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert run(["config", "set", "here", "--address", "unix:/run/s.sock", "--use"]) == 0
    token = tmp_path / "token"
    assert run(["config", "set", "lab", "--token-file", str(token)]) == 0
    assert run(["config", "use", "lab"]) == 0
    capsys.readouterr()
    assert run(["config", "current"]) == 0
    assert capsys.readouterr().out == "lab\n"
    assert run(["config", "list", "-o", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)["contexts"]
    assert [(each["name"], each["current"], each["address"]) for each in listed] == [
        ("lab", True, "gpu.example.com:443"),
        ("here", False, "unix:/run/s.sock"),
    ]
    assert listed[0]["token_file"] == str(token)
    assert run(["config", "list"]) == 0
    assert "*" in capsys.readouterr().out
    assert run(["config", "delete", "lab"]) == 0
    assert run(["config", "current"]) == 1
    assert run(["config", "use", "lab"]) == 1
    assert "there are: here" in capsys.readouterr().err


def test_what_is_typed_wins_over_variables_and_they_over_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the default address is nobody's choice."""
    assert chosen() == Connection("127.0.0.1:7411", chosen=False)
    for name in ("a", "b", "c"):
        run(["config", "set", name, "--address", f"{name}:1"])
    run(["config", "use", "a"])
    assert chosen().address == "a:1"
    assert chosen().chosen
    monkeypatch.setenv("SUBGRPC_CONTEXT", "b")
    assert chosen().address == "b:1"
    assert chosen("--context", "c").address == "c:1"
    monkeypatch.setenv("SUBGRPC_ADDRESS", "v:1")
    assert chosen().address == "v:1"
    assert chosen("--context", "c").address == "c:1"
    assert chosen("--address", "t:1").address == "t:1"
    with pytest.raises(click.UsageError):
        chosen("--address", "t:1", "--context", "c")
    with pytest.raises(NotFound):
        chosen("--context", "none")


def test_credentials_go_to_their_own_server_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither a context's to another address, nor a variable's beside an address to a context."""
    (tmp_path / "token").write_text("hers\n")
    ca = str(tmp_path / "ca.pem")
    words = ["--token-file", str(tmp_path / "token"), "--tls-ca", ca]
    run(["config", "set", "lab", "--address", "lab:1", *words, "--use"])
    run(["config", "set", "bare", "--address", "bare:1"])
    assert chosen() == Connection("lab:1", "hers", ca)
    assert chosen("--address", "other:1") == Connection("other:1")
    assert chosen("--token", "mine").token == "mine"
    monkeypatch.setenv("SUBGRPC_TOKEN", "variable")
    assert chosen().token == "hers"
    assert chosen("--context", "bare").token == "variable"
    monkeypatch.setenv("SUBGRPC_ADDRESS", "other:1")
    assert chosen().token == "variable"
    assert chosen("--context", "bare").token == ""
    (tmp_path / "token").unlink()
    with pytest.raises(InvalidArgument, match="token"):
        chosen("--context", "lab")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("current = [", "config.toml"),
        ("\udcff", "config.toml"),
        ("curent = 'a'", "curent"),
        ("current = 1", "is a name"),
        ("[contexts.a]\nadress = 'b:1'", "contexts.a.adress"),
        ("[contexts.a]\n", "contexts.a.address"),
        ("[contexts.a]\naddress = 'b:1'\ntls_ca = 1", "contexts.a.tls_ca"),
        ("[contexts.'a b']\naddress = 'b:1'", "letters"),
        ("contexts = 1", "tables"),
    ],
)
def test_a_file_with_mistakes_is_refused_with_their_place(
    file: Path, text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And never overwritten."""
    file.parent.mkdir()
    file.write_bytes(text.encode(errors="surrogateescape"))
    before = file.read_bytes()
    for line in (["list"], ["config", "list"], ["config", "set", "x", "--address", "x:1"]):
        assert run(line) == 1
        assert told in capsys.readouterr().err
    assert file.read_bytes() == before


def test_paths_in_the_file_start_at_its_folder(file: Path) -> None:
    """Wherever the command is run."""
    file.parent.mkdir()
    file.write_text("[contexts.a]\naddress = 'a:1'\ntls_ca = 'ca.pem'\ntls_cert = '/x.pem'\n")
    found = contexts.load().find("a")
    assert (found.tls_ca, found.tls_cert) == (str(file.parent / "ca.pem"), "/x.pem")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["set", "lab"], 2),
        (["set", "a b", "--address", "x:1"], 2),
        (["set", "lab", "--address", "nowhere"], 1),
        (["delete"], 2),
        (["delete", "lab"], 1),
    ],
)
def test_mistakes_change_nothing(file: Path, words: list[str], code: int) -> None:
    assert run(["config", *words]) == code
    assert not file.exists()


def test_strange_texts_come_back_as_they_were(file: Path) -> None:
    """Quotes, backslashes, control characters, other alphabets."""
    strange = 'q"u\\o\t\x7f\x01ü…😀'
    wanted = contexts.Contexts("a", {"a": contexts.ServerContext("a:1", tls_ca=f"/{strange}")})
    contexts.save(wanted)
    assert contexts.load() == wanted
    assert [each.name for each in file.parent.iterdir()] == ["config.toml"]


def test_a_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    """Whoever keeps the file elsewhere finds it there."""
    file.parent.mkdir()
    (tmp_path / "kept.toml").write_text("")
    file.symlink_to(tmp_path / "kept.toml")
    contexts.save(contexts.Contexts("", {"a": contexts.ServerContext("a:1")}))
    assert file.is_symlink()
    assert "a:1" in (tmp_path / "kept.toml").read_text()
