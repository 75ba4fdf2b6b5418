"""Disks that are full where outputs are taken, or stored: they wait, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.conftest import Cli, until

from .test_full_disk import fill

SIZE = 6_000_000


def run(cli: Cli, text: str) -> None:
    (cli.folder / "e.yaml").write_text(text)
    cli("run", "-d", "e.yaml", code=0)


def pulled(cli: Cli) -> bytes:
    [output] = cli.json("get", "writes")["outputs"]
    target = cli.folder / "pulled"
    cli("artifact", "pull", output["artifact"], str(target), code=0)
    return (target / "big").read_bytes()


def test_a_store_that_is_full(own: Cli, small_disk: Path) -> None:
    """The experiment waits, says why, and ends well when there is room."""
    (small_disk / "store").mkdir()
    own.up("--artifacts", (small_disk / "store").as_uri())
    ballast = fill(small_disk)
    run(
        own,
        f"""
        name: writes
        command: head -c {SIZE} /dev/urandom >$SUBGRPC_OUTPUT_DIR/model/big
        outputs: [{{name: model}}]
        """,
    )
    until(lambda: "tried again" in own.json("get", "writes").get("message", ""), "it says why")
    found = own.json("get", "writes")
    assert (found["reason"], found["state"]) == ("UploadingOutputs", "EXPERIMENT_STATE_RUNNING")
    assert "full" in found["message"] or "space" in found["message"]
    ballast.unlink()
    until(lambda: own.state("writes") == "SUCCEEDED", "it ends well", 60)
    assert len(pulled(own)) == SIZE


def test_a_full_disk_where_files_are_taken(own: Cli, small_disk: Path) -> None:
    """The supervisor tries again; what it copied half is not seen."""
    work = own.folder / "work"
    work.mkdir()
    (own.data / "drivers").mkdir(parents=True)
    (small_disk / "local").mkdir()
    (own.data / "drivers" / "local").symlink_to(small_disk / "local")
    own.up()
    run(
        own,
        f"""
        name: writes
        command: |
          head -c {SIZE} /dev/urandom >big
          until test -e go; do sleep 0.05; done
        outputs: [{{name: model, paths: [big]}}]
        driver_options: {{local: {{working_directory: {work}}}}}
        """,
    )
    own.reaches("writes", "RUNNING")
    until(
        lambda: (work / "big").exists() and (work / "big").stat().st_size == SIZE, "it is written"
    )
    ballast = fill(small_disk)
    (work / "go").touch()
    task = next((small_disk / "local").glob("runs/*/*/main-0"))
    until((task / "taken" / "model").exists, "it was tried")
    assert not list((task / "taken" / "model").glob("[0-9]*"))
    assert own.state("writes") == "RUNNING"
    ballast.unlink()
    until(lambda: own.state("writes") == "SUCCEEDED", "it ends well", 60)
    assert pulled(own) == (work / "big").read_bytes()
