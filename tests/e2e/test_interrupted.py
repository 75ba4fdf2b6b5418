"""Ctrl-C in the middle of writing output, and then going on."""

from __future__ import annotations

import io
import os
import signal

import pytest

from subgrpc.cli.ctrlc import CtrlC, Hurry
from subgrpc.cli.follow import Follower
from subgrpc.cli.logwriter import LogWriter
from subgrpc.client import Client

from .conftest import Cli

COMMAND = "for n in $(seq 50); do echo $n; sleep 0.01; done"


class Interrupting(io.BytesIO):
    """A file at which the user types Ctrl-C, once before or once behind every write."""

    def __init__(self, before: bool) -> None:
        super().__init__()
        self.before = before
        self.count = 0

    def write(self, data: object) -> int:
        self.count += 1
        if self.before:
            os.kill(os.getpid(), signal.SIGINT)
        written = super().write(data)  # type: ignore[arg-type]
        if not self.before:
            os.kill(os.getpid(), signal.SIGINT)
        return written


@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_ctrl_c_in_a_write_neither_loses_nor_doubles_output(
    shared: Cli, before: bool, prefix: bool
) -> None:
    """Whoever goes on following after it has everything once."""
    out = Interrupting(before)
    with Client(shared.env["SUBGRPC_ADDRESS"]) as client:
        made = client.experiments.create(COMMAND).experiment
        follower = Follower(client, made, LogWriter(prefix=prefix, out=out), quiet=True)
        interrupted = 0
        while True:
            try:
                follower.follow()
                break
            except KeyboardInterrupt:
                interrupted += 1
    mark = "[main-0] " if prefix else ""
    assert out.getvalue().decode() == "".join(f"{mark}{n + 1}\n" for n in range(50))
    assert out.count >= interrupted > 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait() -> None:
    """As when whoever reads the output does not."""
    steps = []

    def interrupted() -> None:
        with CtrlC(lambda: None):
            for each in ("first", "second"):
                os.kill(os.getpid(), signal.SIGINT)
                steps.append(each)

    with pytest.raises(Hurry):
        interrupted()
    assert steps == ["first"]


def test_whoever_ignores_ctrl_c_still_does() -> None:
    """`nohup subgrpc run … &` in a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with CtrlC(lambda: None) as ctrl_c:
            os.kill(os.getpid(), signal.SIGINT)
        assert not ctrl_c.came
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("words", [("logs", "-f"), ("watch",)], ids=" ".join)
def test_ctrl_c_ends_what_follows(shared: Cli, words: tuple[str, ...]) -> None:
    """At once, with 130, whatever it was doing."""
    script = "echo started; sleep 600"
    shared("run", "-d", "--name", "stays", "--", "sh", "-c", script, code=0)
    command = shared.start(*words, "stays")
    assert command.stdout is not None
    assert command.stdout.readline()
    command.send_signal(signal.SIGINT)
    _, told = command.communicate(timeout=20)
    assert command.returncode == 130, told
    assert b"Traceback" not in told
    shared("delete", "--force", "stays", code=0)
