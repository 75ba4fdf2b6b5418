"""Ctrl-C in the middle of writing output, and then going on."""

from __future__ import annotations

import io
import os
import signal

import pytest

from subgrpc.cli.ctrlc import CtrlC
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
    assert interrupted == out.count > 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait() -> None:
    """As when whoever reads the output does not."""
    steps = []

    def interrupted(ctrl_c: CtrlC) -> None:
        with ctrl_c.whole():
            for each in ("first", "second"):
                os.kill(os.getpid(), signal.SIGINT)
                steps.append(each)

    with CtrlC() as ctrl_c, pytest.raises(KeyboardInterrupt):
        interrupted(ctrl_c)
    assert steps == ["first"]


def test_whoever_ignores_ctrl_c_still_does() -> None:
    """`nohup subgrpc run … &` in a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with CtrlC() as ctrl_c, ctrl_c.whole():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
