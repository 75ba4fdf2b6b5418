"""What the supervisor takes of a task's files: through real supervisors, and by itself."""

from __future__ import annotations

import os
import shutil
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from subgrpc.agent import taking
from subgrpc.agent.outputs import Output, Outputs, decode, encode
from subgrpc.agent.request import Request
from subgrpc.agent.status import Status
from subgrpc.agent.taking import Source, TakeError, Taking
from tests.unit.agent.test_supervisor import OLD_PYTHONS, Task

MODEL = Output("model")


class Work:
    """A task with its folders."""

    def __init__(self, folder: Path) -> None:
        self.task = Task(folder)
        self.folder = folder
        self.out = folder / "out"
        self.work = folder / "work"
        self.work.mkdir()

    def start(self, script: str, *outputs: Output, **options: Any) -> Task:
        folders = [self.out, *(self.out / each.name for each in outputs if not each.paths)]
        options.setdefault("cwd", os.fsencode(self.work))
        return self.task.start(
            "sh",
            "-c",
            f"OUT={self.out}; {script}",
            outputs=[encode(each) for each in outputs],
            out=os.fsencode(self.out),
            folders=[os.fsencode(each) for each in folders],
            **options,
        )

    def place(self, name: str, sequence: int = 1) -> Path:
        return self.folder / "taken" / name / str(sequence)

    def taken(self, name: str = "model", sequence: int = 1) -> dict[str, str] | None:
        """The files that were taken, by path."""
        place = self.place(name, sequence)
        if not place.exists():
            return None
        files = [path for path in (place / "files").rglob("*") if path.is_file()]
        found = {str(path.relative_to(place / "files")): path.read_text() for path in files}
        listed = [line.split(" ", 2)[2] for line in self.lines(name, sequence)]
        assert listed == sorted(found, key=os.fsencode)
        return found

    def lines(self, name: str = "model", sequence: int = 1) -> list[str]:
        return (self.place(name, sequence) / "files.list").read_bytes().decode().split("\0")[:-1]

    def about(self, name: str = "model", sequence: int = 1) -> list[str]:
        return (self.place(name, sequence) / "about").read_bytes().decode().split("\0")

    def problems(self, name: str = "model", sequence: int = 1) -> list[str]:
        found = [each.partition("=") for each in self.about(name, sequence)]
        return [text for key, _, text in found if key == "problem"]


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    made = Work(tmp_path / "task")
    yield made
    if made.task.process is not None and made.task.process.poll() is None:
        made.task.process.kill()
        made.task.process.wait()


def test_success(work: Work) -> None:
    """What is in the output's folder is taken, with modes and sizes; then the task has ended."""
    done = work.start(
        "mkdir -p $OUT/model/d; echo 1 >$OUT/model/d/a; chmod 755 $OUT/model/d/a", MODEL
    )
    assert done.wait()["outcome"] == "succeeded"
    assert work.taken() == {"d/a": "1\n"}
    assert work.lines() == ["2 755 d/a"]
    assert work.about()[:3] == ["final=1", "files=1", "bytes=2"]


def test_patterns(work: Work) -> None:
    """Relative to the working directory, or to $SUBGRPC_OUTPUT_DIR; the first pattern wins."""
    both = Output("both", [b"*.txt", b"$SUBGRPC_OUTPUT_DIR/*.txt"])
    work.start("echo w >a.txt; echo o >$OUT/a.txt; echo p >$OUT/b.txt", both).wait()
    assert work.taken("both") == {"a.txt": "w\n", "b.txt": "p\n"}


@pytest.mark.parametrize("optional", [False, True])
def test_nothing_there(work: Work, optional: bool) -> None:
    """A required output that is missing is a failure that says what was looked for."""
    done = work.start("true", Output("model", [b"ckpt/*.pt"], optional=optional)).wait()
    assert done["outcome"] == ("succeeded" if optional else "failed")
    assert work.taken() is None
    if not optional:
        assert (done["reason"], done["exit_code"]) == ("OutputMissing", 0)
        assert "ckpt/*.pt" in done["message"]


def test_what_was_left_out_is_said_when_nothing_is_left(work: Work) -> None:
    """A missing output whose only file was refused tells why."""
    done = work.start("ln -s /etc/hostname $OUT/model/x", MODEL).wait()
    assert done["reason"] == "OutputMissing"
    assert "x: is a link that leads out" in done["message"]


@pytest.mark.parametrize(
    ("script", "options", "reason"),
    [("exit 3", {}, "ExitCode"), ("sleep 60", {"timeout": 0.5}, "Timeout")],
)
def test_failure(work: Work, script: str, options: dict[str, Any], reason: str) -> None:
    """A task that failed keeps what is always taken, and its own reason."""
    always = Output("log", always=True)
    done = work.start(
        f"echo 1 >$OUT/log/a; echo 1 >$OUT/model/a; {script}", MODEL, always, **options
    )
    assert done.wait()["reason"] == reason
    assert work.taken("log") == {"a": "1\n"}
    assert work.taken("model") is None


def test_stop(work: Work) -> None:
    """So does one that was stopped."""
    task = work.start("echo 1 >$OUT/log/a; echo up; sleep 60", Output("log", always=True))
    task.until(lambda: work.task.read("stdout"))
    task.stop(5)
    assert task.wait()["outcome"] == "cancelled"
    assert work.taken("log") == {"a": "1\n"}


def test_what_does_not_start_leaves_nothing(work: Work) -> None:
    """A command that does not exist fails as it would without outputs."""
    done = work.start("true", Output("log", always=True), cwd=b"/nowhere").wait()
    assert done["reason"] == "StartFailed"
    assert work.taken("log") is None


def test_leftover_processes_are_gone_before(work: Work) -> None:
    """Nothing writes any more when files are taken, also not what the task left behind."""
    script = "(setsid sh -c 'while :; do echo x >>$0/model/a; done' $OUT &) ; sleep 0.3"
    work.start(script, MODEL, grace=0.1).wait()
    taken = (work.place("model") / "files" / "a").stat().st_size
    assert taken == (work.out / "model" / "a").stat().st_size
    assert work.lines()[0].split()[0] == str(taken)


def test_tricks(work: Work) -> None:
    """Links out, pipes and names that no artifact can have are left out and told; no more is."""
    composed, decomposed = "\u00e9", unicodedata.normalize("NFD", "\u00e9")
    script = f"""
        cd $OUT/model
        ln -s /etc/passwd link; ln -s ../../status.json state; mkfifo pipe
        echo 1 >{composed}; echo 2 >{decomposed}; echo 3 >"$(printf 'bad\\377')"; echo 4 >good
        ln -s good alias; mkdir d; ln -s .. d/up; echo 5 >'new
line'
    """
    assert work.start(script, MODEL).wait()["outcome"] == "succeeded"
    taken = work.taken()
    assert taken is not None
    assert set(taken) == {"good", "alias", decomposed, "new\nline"}
    assert taken["alias"] == "4\n"
    text = "\n".join(work.problems())
    for wanted in ("link: is a link that leads out", "state: is a link that", "pipe: is no regular",
                   "bad\\xff: has a name that is not UTF-8", "d/up: is a link to a folder",
                   f"{composed}: has the name of another file"):  # fmt: skip
        assert wanted in text


def test_the_folder_itself_replaced_by_a_link(work: Work) -> None:
    """What stands elsewhere does not become an output."""
    done = work.start("rmdir $OUT/model; ln -s /etc $OUT/model", MODEL).wait()
    assert done["reason"] == "OutputMissing"


def test_a_file_in_the_place_of_a_folder(work: Work) -> None:
    """Of two patterns whose files cannot stand beside each other, one is left out and told."""
    both = Output("both", [b"x", b"$SUBGRPC_OUTPUT_DIR/x"])
    work.start("echo 1 >x; mkdir $OUT/x; echo 2 >$OUT/x/y", both).wait()
    assert work.taken("both") == {"x": "1\n"}
    assert work.problems("both") == ["x/y: stands where another file is a folder"]


def test_checkpoints(work: Work) -> None:
    """Each is what the files were; two wait to be released; the last has the greatest number."""
    script = "for i in 1 2 3 4 5 6; do echo $i >$OUT/model/n; sleep 0.4; done"
    assert work.start(script, Output("model", interval=0.5)).wait()["outcome"] == "succeeded"
    first, second, last = work.taken(), work.taken(sequence=2), work.taken(sequence=3)
    assert first is not None
    assert second is not None
    assert int(first["n"]) < int(second["n"]) < 6
    assert last == {"n": "6\n"}
    assert work.about(sequence=2)[0] == "final=0"
    assert work.about(sequence=3)[0] == "final=1"
    assert work.place("model", 4).exists() is False


def test_a_checkpoint_does_not_hold_up_a_stop(work: Work) -> None:
    """The child that takes it ends with the task; half of it is not seen."""
    (work.work / "big").write_bytes(bytes(300 << 20))
    task = work.start("sleep 60", Output("model", [b"big"], interval=0.2))
    task.until(lambda: list((work.folder / "taken").glob("model/.*")) or work.taken())
    task.stop(0)
    assert task.wait()["outcome"] == "cancelled"


def test_a_checkpoint_that_is_as_the_last_is_not_taken(tmp_path: Path) -> None:
    """Neither stored twice nor copied twice; one file that changed makes a new one."""
    source = a_source(tmp_path, "a", "b")
    time.sleep(1.1)  # what is so young may change and keep its time
    assert Taking(str(tmp_path), "model", 1, False).take(source, [], nothing)
    again = Taking(str(tmp_path), "model", 2, False)
    assert not again.take(source, [], nothing)
    (tmp_path / "out" / "model" / "a").write_text("more")
    assert Taking(str(tmp_path), "model", 3, False).take(source, [], nothing)
    first, third = (tmp_path / "taken" / "model" / n / "files" for n in "13")
    assert (third / "a").read_text() == "more"
    assert (first / "b").stat().st_ino == (third / "b").stat().st_ino


def test_a_file_that_is_being_written_waits_for_the_next(tmp_path: Path) -> None:
    """A checkpoint has no half-written file."""
    source = a_source(tmp_path, "a", "b")
    victim = tmp_path / "out" / "model" / "b"

    def write() -> None:
        with open(victim, "a") as file:
            file.write("x")

    taken = Taking(str(tmp_path), "model", 1, False)
    assert taken.take(source, [], write)
    assert taken.told() == ["b: was being written"]
    assert [p.name for p in (tmp_path / "taken" / "model" / "1" / "files").iterdir()] == ["a"]


def test_files_are_not_copied_where_nobody_writes(tmp_path: Path) -> None:
    """In the task's own folders they get a second name, once for each output that has them."""
    source = a_source(tmp_path, "a")
    for name, paths in (("model", []), ("all", [b"$SUBGRPC_OUTPUT_DIR/**"])):
        Taking(str(tmp_path), name, 1, True).take(source, paths, nothing)
    inode = (tmp_path / "out" / "model" / "a").stat().st_ino
    assert (tmp_path / "taken/model/1/files/a").stat().st_ino == inode
    assert (tmp_path / "taken/all/1/files/model/a").stat().st_ino == inode


def test_files_of_others_are_copied(tmp_path: Path) -> None:
    """In a working directory that outlives the task, and files with names elsewhere."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "a").write_text("1")
    source = a_source(tmp_path / "task", "b", work=shared)
    os.link(tmp_path / "task" / "out" / "model" / "b", tmp_path / "elsewhere")
    for name, paths in (("w", [b"a"]), ("model", [])):
        Taking(str(tmp_path / "task"), name, 1, True).take(source, paths, nothing)
    (shared / "a").write_text("2")
    (tmp_path / "elsewhere").write_text("2")
    assert (tmp_path / "task/taken/w/1/files/a").read_text() == "1"
    assert (tmp_path / "task/taken/model/1/files/b").read_text() == "b"


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a limit, and what to do about it is said."""
    source = a_source(tmp_path, "a", "b", "c")
    monkeypatch.setattr(taking, "MAX_FILES", 2)
    with pytest.raises(TakeError, match="pack them together"):
        Taking(str(tmp_path), "model", 1, True).take(source, [], nothing)
    assert [*(tmp_path / "taken").glob("*/*")] == []


def test_no_time_left(tmp_path: Path) -> None:
    """What cannot be taken in time fails the task, unless it is optional; nothing half is seen."""
    for optional in (False, True):
        folder = tmp_path / str(optional)
        a_source(folder, "a")
        request = Request([b"x"], {}, os.fsencode(folder))
        request.out = os.fsencode(folder / "out")
        request.outputs = [encode(Output("model", optional=optional))]
        status = Status()
        status.end("succeeded")
        Outputs(str(folder), request, lambda _: None).finish(status, lambda: 0.0)
        assert status.outcome == ("succeeded" if optional else "failed")
        assert optional or status.reason == "OutputFailed"
        assert [*(folder / "taken").glob("*/*")] == []


def test_ten_thousand_files(tmp_path: Path) -> None:
    """They are all there, in order."""
    source = a_source(tmp_path, *map(str, range(10_000)))
    taken = Taking(str(tmp_path), "model", 1, True)
    assert taken.take(source, [], nothing)
    assert taken.count == len(os.listdir(tmp_path / "taken/model/1/files")) == 10_000


@pytest.mark.parametrize("python", OLD_PYTHONS, ids=lambda path: path.parts[-3])
def test_old_pythons(tmp_path: Path, python: Path) -> None:
    """They take outputs and checkpoints too."""
    work = Work(tmp_path / "task")
    work.task.python = str(python)
    script = "echo 1 >$OUT/model/\u00e9; echo 2 >f; sleep 1"
    done = work.start(script, Output("model", interval=0.3), Output("w", [b"**"])).wait()
    assert done["outcome"] == "succeeded"
    assert work.taken() == work.taken(sequence=2) == {"\u00e9": "1\n"}
    assert work.taken("w") == {"f": "2\n"}


def test_requests_are_what_they_were() -> None:
    """What is encoded is decoded; a line break, which would be another pattern, is refused."""
    asked = Output("model", [b"a b", b"\xff"], always=True, optional=True, interval=1.5)
    found = decode(encode(asked))
    assert vars(found) == vars(asked)
    with pytest.raises(ValueError, match="line break"):
        encode(Output("model", [b"a\nb"]))


def a_source(folder: Path, *names: str, work: Path | None = None) -> Source:
    """A task's folder whose output `model` has files that hold their names."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "out" / "model").mkdir(parents=True)
    for name in names:
        (folder / "out" / "model" / name).write_text(name)
    (folder / "work").mkdir(exist_ok=True)
    chosen = work or folder / "work"
    return Source(os.fsencode(chosen), os.fsencode(folder / "out"), os.fsencode(folder))


def nothing() -> None:
    """There is time enough."""
