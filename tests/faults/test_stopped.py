"""Processes that are stopped (SIGSTOP) are late, and nothing else: nobody takes them for dead."""

from __future__ import annotations

import json
import sys
import time

from tests.e2e.conftest import Cli, until

from .conftest import Stopped, state_of, supervisor_of

COUNT = "import time\nfor n in range({}):\n    print(n, flush=True); time.sleep({})"


def counting(count: int, pause: float) -> list[str]:
    """A command that counts."""
    return [sys.executable, "-c", COUNT.format(count, pause)]


def numbers(count: int) -> bytes:
    """What it prints."""
    return b"".join(b"%d\n" % n for n in range(count))


def detached(cli: Cli, name: str, *command: str, options: tuple[str, ...] = ()) -> int:
    """Starts an experiment and waits until it runs; the pid of its supervisor."""
    cli("run", "-d", "--name", name, *options, "--", *command, code=0)
    cli.reaches(name, "RUNNING")
    return supervisor_of(cli, name)


def test_a_stopped_supervisor_is_not_lost(own: Cli, stop: Stopped) -> None:
    """Its task goes on and is read meanwhile, also by a server that is started anew."""
    own.up()
    pid = detached(own, "slow", *counting(60, 0.1))
    stop(pid)
    own.kill()
    own.up(port=own.port)
    until(lambda: own("logs", "slow", code=0).stdout == numbers(60), "all of its output")
    time.sleep(6)  # the driver has looked at every task by then, whatever the kernel told it
    assert own.state("slow") == "RUNNING"
    stop.resume()
    own("wait", "--timeout", "20s", "slow", code=0)
    assert own("logs", "slow", code=0).stdout == numbers(60)
    assert own.json("get", "slow")["attempt"] == 1


def test_a_stopped_supervisor_obeys(own: Cli, stop: Stopped) -> None:
    """It is made to go on by a cancel, and by a delete."""
    own.up()
    pids = {name: detached(own, name, "sleep", "600") for name in ("cancelled", "deleted")}
    for pid in pids.values():
        stop(pid)
    own("cancel", "cancelled", code=0)
    own("delete", "--force", "--yes", "deleted", code=0)
    own.reaches("cancelled", "CANCELLED")
    until(lambda: own.state("deleted") == "", "deleted")
    until(lambda: all(state_of(pid) in "Z" for pid in pids.values()), "supervisors are gone")


def test_a_supervisor_that_is_stopped_while_it_ends_its_task_goes_on(
    own: Cli, stop: Stopped
) -> None:
    """Within seconds: a cancel does not wait for whoever stopped it."""
    own.up()
    (own.folder / "spec.yaml").write_text(
        "name: stubborn\ntermination_grace_period: 1s\n"
        "command: trap 'echo asked' TERM; echo ready; while true; do sleep 0.05; done\n"
    )
    own("run", "-d", "spec.yaml", code=0)
    until(lambda: own("logs", "stubborn").stdout == b"ready\n", "ready")
    pid = supervisor_of(own, "stubborn")
    own("cancel", "stubborn", code=0)
    until(lambda: b"asked" in own("logs", "stubborn").stdout, "asked to end")
    stop(pid)
    assert own.state("stubborn") == "CANCELLING"
    until(lambda: own.state("stubborn") == "CANCELLED", "CANCELLED", 12)


def test_a_timeout_is_enforced_when_the_supervisor_goes_on(own: Cli, stop: Stopped) -> None:
    """What passed meanwhile counts."""
    own.up()
    pid = detached(own, "limited", "sleep", "600", options=("--timeout", "2s"))
    stop(pid)
    time.sleep(3)
    assert own.state("limited") == "RUNNING"
    stop.resume()
    until(lambda: own.state("limited") == "FAILED", "FAILED", 5)
    assert own.json("get", "limited")["reason"] == "Timeout"


def test_a_users_process_that_is_stopped_can_be_cancelled(own: Cli, stop: Stopped) -> None:
    """It is no reason to believe that it ended, and it is given its chance to end well."""
    own.up()
    script = "trap 'echo bye; exit 3' TERM; echo $$; while true; do sleep 0.05; done"
    detached(own, "paused", "sh", "-c", script)
    until(lambda: own("logs", "paused").stdout != b"", "its pid")
    stop(int(own("logs", "paused").stdout))
    time.sleep(1)
    assert own.state("paused") == "RUNNING"
    own("cancel", "paused", code=0)
    own.reaches("paused", "CANCELLED")
    assert own("logs", "paused", code=0).stdout.splitlines()[1:] == [b"bye"]


def test_streams_outlive_a_server_that_is_stopped_for_half_a_minute(
    own: Cli, stop: Stopped
) -> None:
    """Who follows and who watches hear nothing for so long, and miss nothing."""
    own.up()
    detached(own, "long", *counting(100, 0.35))
    follower = own.start("logs", "-f", "long")
    watcher = own.start("watch", "long", "-o", "json")
    assert watcher.stdout is not None
    assert follower.stdout is not None
    first, line = watcher.stdout.readline(), follower.stdout.readline()
    stop(own.pid)
    time.sleep(30)
    stop.resume()
    out, told = follower.communicate(timeout=40)
    assert follower.returncode == 0, told
    assert line + out == numbers(100)
    rest, told = watcher.communicate(timeout=20)
    states = [json.loads(line)["experiment"]["state"] for line in (first + rest).splitlines()]
    assert states[-1] == "EXPERIMENT_STATE_SUCCEEDED", told
    assert len(states) == len(set(states))
