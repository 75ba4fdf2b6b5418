"""Outputs as a user has them: a spec, a run, an artifact that is pulled."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli, until


def spec(cli: Cli, text: str) -> str:
    (cli.folder / "e.yaml").write_text(text)
    return "e.yaml"


def pulled(cli: Cli, name: str) -> dict[str, bytes]:
    """The files of an experiment's only output."""
    [output] = cli.json("get", name)["outputs"]
    target = cli.folder / f"pulled-{name}"
    cli("artifact", "pull", output["artifact"], str(target), code=0)
    files = [path for path in target.rglob("*") if path.is_file()]
    return {str(path.relative_to(target)): path.read_bytes() for path in files}


def test_what_a_run_leaves_can_be_pulled(shared: Cli) -> None:
    """By the artifact that the experiment names; `get` and `artifact ls` show it."""
    text = """
        name: leaves
        command: |
          mkdir $SUBGRPC_OUTPUT_DIR/model/d; cd $SUBGRPC_OUTPUT_DIR/model
          echo 1 >d/a; printf '\\000\\377' >b; chmod 700 b; ln -s /etc/passwd evil
        outputs: [{name: model}]
    """
    shared("run", spec(shared, text), code=0)
    assert pulled(shared, "leaves") == {"d/a": b"1\n", "b": b"\0\xff"}
    shown = shared("get", "leaves", code=0).stdout.decode()
    assert "OUTPUT" in shown
    assert "model" in shown
    events = shared("events", "leaves", code=0).stdout.decode()
    assert "evil: is a link that leads out" in events
    assert "leaves/model" in shared("artifact", "ls", code=0).stdout.decode()


def test_a_failed_run_keeps_what_it_should(shared: Cli) -> None:
    """With `when: always`; and it failed as it did."""
    text = """
        name: fails-late
        command: echo 1 >$SUBGRPC_OUTPUT_DIR/log/a; exit 7
        outputs: [{name: log, when: always}, {name: model}]
    """
    assert shared("run", spec(shared, text)).returncode == 7
    assert pulled(shared, "fails-late") == {"a": b"1\n"}


def test_a_missing_output_is_a_failure(shared: Cli) -> None:
    """It says what was looked for."""
    text = """
        name: forgot
        command: "true"
        outputs: [{name: model, paths: [ckpt/*.pt]}]
    """
    done = shared("run", spec(shared, text), code=1)
    assert b"OutputMissing" in done.stderr
    assert b"ckpt/*.pt" in done.stderr


@pytest.mark.thorough
def test_ten_thousand_files(shared: Cli) -> None:
    """And a file of 200 MB: what is pulled is what was written."""
    text = """
        name: much
        command: |
          cd $SUBGRPC_OUTPUT_DIR/model
          for i in $(seq 10000); do echo $i >$i; done
          head -c 200000000 /dev/urandom >big; sha256sum big >sum
        outputs: [{name: model}]
    """
    shared("run", spec(shared, text), code=0)
    found = pulled(shared, "much")
    assert len(found) == 10_002
    assert all(found[str(i)] == b"%d\n" % i for i in range(1, 10_001))
    assert hashlib.sha256(found["big"]).hexdigest() == found["sum"].split()[0].decode()


@pytest.mark.thorough
def test_a_server_that_is_killed_while_it_stores(own: Cli) -> None:
    """The next one stores the output, once."""
    own.up()
    text = """
        name: survivor
        command: |
          head -c 300000000 /dev/urandom >$SUBGRPC_OUTPUT_DIR/model/big
          sha256sum <$SUBGRPC_OUTPUT_DIR/model/big >$SUBGRPC_OUTPUT_DIR/model/sum
        outputs: [{name: model}]
    """
    own("run", "--detach", spec(own, text), code=0)
    until(lambda: "UploadingOutputs" in own("get", "survivor").stdout.decode(), "uploading")
    own.kill()
    own.up()
    own.reaches("survivor", "SUCCEEDED")
    found = pulled(own, "survivor")
    assert hashlib.sha256(found["big"]).hexdigest() == found["sum"].split()[0].decode()
    assert len(own.json("artifact", "ls")["artifacts"]) == 1
    until(lambda: not list((own.data / "drivers").glob("*/runs/*/*")), "the run is removed")


@pytest.mark.thorough
@pytest.mark.parametrize(
    "point", ["output.storing=1", "output.stored=1", "output.stored=2", "output.recorded=1",
              "local.released=1"],
)  # fmt: skip
def test_a_server_that_dies_at_each_step(own: Cli, point: str) -> None:
    """Of storing, recording and releasing: each output is stored once, and the run ends well."""
    own.env["SUBGRPC_FAULTS"] = f"|{point}"
    own.up()
    del own.env["SUBGRPC_FAULTS"]
    text = """
        name: steps
        command: |
          for i in 1 2 3 4; do echo $i >$SUBGRPC_OUTPUT_DIR/ckpt/n; sleep 1; done
          echo last >$SUBGRPC_OUTPUT_DIR/model/n
        outputs: [{name: ckpt, interval: 1s, keep_last: 9}, {name: model}]
    """
    own("run", "--detach", spec(own, text), code=0)
    until(lambda: own.dead(), "the server dies")
    own.up()
    own.reaches("steps", "SUCCEEDED")
    found = own.json("artifact", "ls")["artifacts"]
    assert {each["state"] for each in found} == {"ARTIFACT_STATE_READY"}
    places = [(each["source"]["output"], each["source"]["sequence"]) for each in found]
    assert len(places) == len(set(places))
    assert ("model", 1) in places
    shown = {each["output"]: each for each in own.json("get", "steps")["outputs"]}
    assert shown["ckpt"]["sequence"] == max(n for name, n in places if name == "ckpt")
    until(lambda: not list((own.data / "drivers").glob("*/runs/*/*")), "the run is removed")


def test_checkpoints_of_a_run_that_is_killed(own: Cli) -> None:
    """They are there, though the supervisor died with everything."""
    own.up()
    text = """
        name: doomed
        command: echo 1 >$SUBGRPC_OUTPUT_DIR/ckpt/a; sleep 600
        outputs: [{name: ckpt, interval: 1s}]
    """
    own("run", "--detach", spec(own, text), code=0)
    until(lambda: bool(own.json("get", "doomed").get("outputs")), "a checkpoint")
    assert own.state("doomed") == "RUNNING"
    [claim] = Path(own.data).glob("drivers/*/runs/*/*/main-0/claim")
    os.kill(int(claim.read_text().split()[0]), signal.SIGKILL)
    own.reaches("doomed", "FAILED")
    assert pulled(own, "doomed") == {"a": b"1\n"}


def test_what_one_run_leaves_another_reads(shared: Cli) -> None:
    """As an input: by the artifact that the first one made; it says what it has read."""
    writes = """
        name: writes
        command: seq 100000 >$SUBGRPC_OUTPUT_DIR/model/numbers
        outputs: [{name: model}]
    """
    shared("run", spec(shared, writes), code=0)
    [output] = shared.json("get", "writes")["outputs"]
    reads = f"""
        name: reads
        command: sha256sum <$SUBGRPC_INPUT_DIR/model/numbers
        inputs: [{{name: model, artifact: {output["artifact"]}}}]
    """
    done = shared("run", spec(shared, reads), code=0)
    wanted = "".join(f"{number}\n" for number in range(1, 100_001)).encode()
    assert hashlib.sha256(wanted).hexdigest() in done.stdout.decode()
    shown = shared("get", "reads", code=0).stdout.decode()
    assert output["artifact"].rpartition("/")[2] in shown
