"""The supervisor on its own: started as a driver starts it, watched through its files."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import subgrpc.agent
from subgrpc.agent import cgroup, tree
from subgrpc.agent.request import Request, encode

PACKAGE = Path(subgrpc.agent.__file__).parent
BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); import agent; del sys.path[0]; "
    "from agent.supervisor import main; main(*sys.argv[2:])"
)
OLD_PYTHONS = sorted(Path.home().glob(".pyenv/versions/3.[89].*/bin/python"))


class Task:
    """A supervisor with its folder."""

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.python = python
        self.mark = uuid4().hex
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *args: str, **options: Any) -> Task:
        env = {b"PATH": os.environb[b"PATH"], b"TASK_MARK": self.mark.encode()}
        asked = Request([os.fsencode(arg) for arg in args], env, os.fsencode(self.folder))
        for name, value in options.items():
            setattr(asked, name, value)
        lock = os.open(self.folder / "lock", os.O_WRONLY | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
        stdin = os.memfd_create("request")
        os.write(stdin, encode(asked))
        os.lseek(stdin, 0, os.SEEK_SET)
        with open(self.folder / "agent.log", "ab") as log:
            command = [self.python, "-I", "-S", "-c", BOOT, str(PACKAGE.parent)]
            self.process = subprocess.Popen(
                [*command, str(self.folder), str(lock)],
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=(lock,),
                start_new_session=True,
                env={},
            )
        os.close(stdin)
        os.close(lock)
        return self

    def wait(self) -> dict[str, Any]:
        """Waits for the supervisor's end; returns the final status. Nothing may be left."""
        assert self.process is not None
        assert self.process.wait(20) == 0, (self.folder / "agent.log").read_text()
        assert self.left() == []
        assert (self.folder / "agent.log").read_text() == ""
        return self.status()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "status.json").read_text())
        return found

    def read(self, name: str) -> bytes:
        """What a file of the folder holds; nothing if it is not there yet."""
        path = self.folder / name
        return path.read_bytes() if path.exists() else b""

    def left(self) -> list[int]:
        """Processes of this task."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self.owns(pid)]

    def owns(self, pid: int) -> bool:
        try:
            return self.mark.encode() in Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.005)

    def stop(self, grace: float) -> None:
        (self.folder / "stop").write_text(str(grace))
        assert self.process is not None
        self.process.terminate()


@pytest.fixture
def task(tmp_path: Path) -> Iterator[Task]:
    made = Task(tmp_path / "task")
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()
    for pid in made.left():
        tree.send(pid, signal.SIGKILL)


def test_success(task: Task) -> None:
    """Exit code 0, with times, and both streams apart."""
    before = time.time_ns()
    done = task.start("sh", "-c", "echo out; echo err >&2").wait()
    assert (done["state"], done["outcome"], done["exit_code"]) == ("ended", "succeeded", 0)
    assert before <= done["start_ns"] <= done["end_ns"] <= time.time_ns()
    assert (task.read("stdout"), task.read("stderr")) == (b"out\n", b"err\n")


@pytest.mark.parametrize("code", [1, 3, 127, 255])
def test_exit_codes(task: Task, code: int) -> None:
    """Every exit code is what it was."""
    done = task.start("sh", "-c", f"exit {code}").wait()
    assert (done["outcome"], done["reason"], done["exit_code"]) == ("failed", "ExitCode", code)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGTERM", "SIGUSR1"])
def test_signals(task: Task, name: str) -> None:
    """A signal that ended the process is told, and is no exit code."""
    done = task.start("sh", "-c", f"kill -{name[3:]} $$").wait()
    assert (done["reason"], done["exit_code"]) == ("Signal", -1)
    assert done["signal"] == signal.Signals[name]
    assert name in done["message"]
    assert ("possibly out of memory" in done["message"]) == (name == "SIGKILL")


def test_an_exit_code_that_stands_for_a_signal(task: Task) -> None:
    """What a shell says of its child's signal is explained."""
    done = task.start("sh", "-c", "exit 137").wait()
    assert done["message"] == "exit code 137 (128 + SIGKILL)"


def test_command_not_found(task: Task) -> None:
    """As a shell: 127, with the name and where it was looked for."""
    done = task.start("no-such-command").wait()
    assert (done["reason"], done["exit_code"], done["start_ns"]) == ("CommandNotFound", 127, 0)
    assert "'no-such-command'" in done["message"]
    assert os.environ["PATH"] in done["message"]


def test_not_executable(task: Task) -> None:
    """As a shell: 126."""
    (task.folder / "file").write_text("no program")
    done = task.start("./file").wait()
    assert (done["reason"], done["exit_code"]) == ("CommandNotExecutable", 126)
    (task.folder / "file").chmod(0o700)
    again = Task(task.folder.with_name("again"))
    done = again.start(str(task.folder / "file")).wait()
    assert (done["reason"], done["exit_code"]) == ("CommandNotExecutable", 126)
    assert "#!" in done["message"]


def test_missing_interpreter(task: Task) -> None:
    """A script whose interpreter does not exist is not said to be missing itself."""
    script = task.folder / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o700)
    done = task.start("./script").wait()
    assert (done["reason"], done["exit_code"]) == ("CommandNotFound", 127)
    assert "interpreter" in done["message"]


def test_bad_working_directory(task: Task) -> None:
    """A folder that cannot be entered is told by name."""
    done = task.start("true", cwd=b"/no/such/folder").wait()
    assert (done["outcome"], done["reason"]) == ("failed", "StartFailed")
    assert "/no/such/folder" in done["message"]


def test_a_clean_process(task: Task) -> None:
    """The user's process inherits no descriptor, no blocked and no ignored signal."""
    script = (
        "import os, signal\n"
        "print(sorted(os.listdir('/proc/self/fd'))[:4], os.getsid(0) == os.getpid())\n"
        "print(signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
    )
    task.start(sys.executable, "-S", "-c", script).wait()
    # 3 is the listing's own descriptor.
    assert task.read("stdout") == b"['0', '1', '2', '3'] True\nset()\n"
    other = Task(task.folder.with_name("other"))
    other.start("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status").wait()
    masks = [int(line.split()[1], 16) for line in other.read("stdout").splitlines()]
    # GNU make leaves 32 and 33 ignored in what it starts; they are the C library's own, and it
    # refuses to change them.
    assert [mask & ~(0b11 << 31) for mask in masks] == [0, 0]


def test_daemons_do_not_escape(task: Task) -> None:
    """Children that left the process group and the session end with the task."""
    script = "setsid sleep 600 & (setsid setsid sleep 600 &) ; sleep 600 & exit 4"
    done = task.start("sh", "-c", script, grace=0.5).wait()
    assert (done["exit_code"], done["reason"]) == (4, "ExitCode")


def test_daemons_that_ignore_term_do_not_escape(task: Task) -> None:
    """They are killed after a short grace."""
    script = "(trap '' TERM; setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' &) ; exit 0"
    assert task.start("sh", "-c", script, grace=0.2).wait()["outcome"] == "succeeded"


def test_a_fork_bomb_ends(task: Task) -> None:
    """Processes that breed faster than they are killed are frozen first."""
    script = (
        "import os, time\n"
        "end = time.time() + 20\n"
        "while time.time() < end:\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "    time.sleep(0.05)\n"
    )
    task.start(sys.executable, "-S", "-c", script)
    task.until(lambda: len(task.left()) > 8)
    task.stop(0)
    assert task.wait()["outcome"] == "cancelled"


def test_stop(task: Task) -> None:
    """SIGTERM reaches every process of the task; what it did then is kept."""
    script = "trap 'echo bye; exit 7' TERM; echo ready; sleep 600 & wait"
    task.start("sh", "-c", script)
    task.until(lambda: task.read("stdout"))
    task.stop(10)
    done = task.wait()
    assert (done["outcome"], done["reason"], done["exit_code"]) == ("cancelled", "Stopped", 7)
    assert task.read("stdout") == b"ready\nbye\n"


def test_stop_of_a_stopped_process(task: Task) -> None:
    """A process that was frozen can still say goodbye."""
    task.start("sh", "-c", "trap 'exit 7' TERM; kill -STOP $$; sleep 600")
    task.until(lambda: (task.folder / "status.json").exists())
    task.until(lambda: b"T (stopped)" in _proc_status(task.status()["pid"]))
    task.stop(10)
    assert task.wait()["exit_code"] == 7


def test_ignoring_term(task: Task) -> None:
    """After the grace period nothing is asked any more."""
    task.start("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    task.until(lambda: task.read("stdout"))
    began = time.monotonic()
    task.stop(0.3)
    done = task.wait()
    assert 0.3 <= time.monotonic() - began < 5
    assert (done["outcome"], done["signal"]) == ("cancelled", 9)


def test_a_second_stop_shortens_the_grace(task: Task) -> None:
    """Impatience is possible."""
    task.start("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    task.until(lambda: task.read("stdout"))
    task.stop(600)
    task.until(lambda: (task.folder / "stop").exists())
    task.stop(0)
    assert task.wait()["signal"] == 9


def test_stopped_before_it_started(task: Task) -> None:
    """What was stopped before never starts."""
    (task.folder / "stop").write_text("1")
    done = task.start("touch", "started").wait()
    assert (done["outcome"], done["start_ns"]) == ("cancelled", 0)
    assert not (task.folder / "started").exists()


def test_timeout(task: Task) -> None:
    """A task that runs too long is stopped, and that is the reason."""
    done = task.start("sleep", "600", timeout=0.2).wait()
    assert (done["outcome"], done["reason"], done["signal"]) == ("failed", "Timeout", 15)
    assert "0.2 s" in done["message"]


def test_a_claimed_task_never_starts_again(task: Task) -> None:
    """A second supervisor leaves everything as it is."""
    task.start("sh", "-c", "echo x >> ran").wait()
    before = task.read("status.json")
    task.start("sh", "-c", "echo x >> ran").wait()
    assert (task.read("ran"), task.read("status.json")) == (b"x\n", before)


def test_the_users_process_dies_with_the_supervisor(task: Task) -> None:
    """Whoever kills the supervisor kills the user's process; nobody would watch it."""
    task.start("sleep", "600")
    task.until(lambda: (task.folder / "status.json").exists())
    assert task.process is not None
    task.process.kill()
    task.until(lambda: not task.left())


@pytest.mark.skipif(not cgroup.find_parent(), reason="no control groups can be made here")
def test_out_of_memory(task: Task) -> None:
    """A process that needs more than its limit is told apart from any other that was killed."""
    group = f"{cgroup.find_parent()}/subgrpc-test-{task.mark}"
    script = "b = bytearray(); print('x', flush=True)\nwhile True: b += b'x' * (1 << 20)"
    options = {"memory": 64 << 20, "cgroup": group}
    done = task.start(sys.executable, "-S", "-c", script, **options).wait()
    assert (done["reason"], done["signal"]) == ("OutOfMemory", 9)
    assert "64 MiB" in done["message"]
    assert not Path(group).exists()


@pytest.mark.skipif(not cgroup.find_parent(), reason="no control groups can be made here")
def test_a_memory_limit_that_suffices(task: Task) -> None:
    """With a limit, a SIGKILL from elsewhere is just that; the group is removed."""
    group = f"{cgroup.find_parent()}/subgrpc-test-{task.mark}"
    done = task.start("sh", "-c", "kill -KILL $$", memory=64 << 20, cgroup=group).wait()
    assert (done["reason"], done["message"]) == ("Signal", "killed by SIGKILL")
    assert not Path(group).exists()


def test_no_control_group(task: Task) -> None:
    """Where the group cannot be made after all, the task runs without its limit."""
    task.start("true", memory=1 << 30, cgroup="/proc/no-group-here")
    assert task.process is not None
    assert task.process.wait(20) == 0
    assert task.status()["outcome"] == "succeeded"
    assert b"no memory limit" in task.read("agent.log")


def test_a_full_disk_does_not_lose_the_outcome(task: Task) -> None:
    """The final status is written as soon as there is room again."""
    mount = task.folder.with_name("small")
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)], capture_output=True
    )
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        small = Task(mount / "task")
        small.start("sh", "-c", "cat /dev/zero > fill; exit 5")
        assert small.process is not None
        small.until(lambda: b"cannot be written" in small.read("agent.log") or _full(mount))
        small.until(lambda: small.left() == [])
        (small.folder / "fill").unlink()
        assert small.process.wait(20) == 0
        assert (small.status()["state"], small.status()["exit_code"]) == ("ended", 5)
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)
        shutil.rmtree(mount, ignore_errors=True)


@pytest.mark.parametrize("python", OLD_PYTHONS, ids=lambda path: path.parts[-3])
def test_old_pythons(tmp_path: Path, python: Path) -> None:
    """The agent runs on every Python since 3.8."""
    task = Task(tmp_path / "task", str(python))
    done = task.start("sh", "-c", "(setsid sleep 600 &); echo hi; exit 3", timeout=60).wait()
    assert (done["exit_code"], task.read("stdout")) == (3, b"hi\n")


def test_few_imports() -> None:
    """What the user waits for stays small: none of the modules that cost milliseconds."""
    code = (
        f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); import agent.supervisor\n"
        "print(sorted(sys.modules.keys() & {'json', 'signal', 're', 'enum', 'subprocess',"
        " 'typing', 'threading', 'subgrpc', 'collections'}))"
    )
    command = [sys.executable, "-I", "-S", "-c", code]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


def _proc_status(pid: int) -> bytes:
    return Path(f"/proc/{pid}/status").read_bytes()


def _full(mount: Path) -> bool:
    found = os.statvfs(mount)
    return found.f_bavail == 0
