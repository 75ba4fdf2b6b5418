from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from subgrpc.errors import DataLoss, FailedPrecondition, NotFound, OutOfRange
from subgrpc.journal import DATA, GAP, JournalReader, JournalStore, JournalWriter, writer
from subgrpc.journal.frames import join
from subgrpc.journal.reader import STRIDE

UID = "0" * 26
OUT, ERR = 1, 2
Piece = tuple[str, int, bytes]


@pytest.fixture
def store(tmp_path: Path) -> JournalStore:
    return JournalStore(tmp_path / "journals")


def put(log: JournalWriter, task: str, stream: int, data: bytes, time: int = 0) -> None:
    log.append(task, stream, log.offset(task, stream), data, time)


def read_all(
    reader: JournalReader, position: int = 0, *, skip: int = 0, task: str = "", stream: int = 0
) -> list[Piece]:
    """Everything behind a position, adjacent pieces of one stream joined."""
    found: list[Piece] = []
    while True:
        batch = reader.read(position, skip=skip, task=task, stream=stream)
        for run in batch.runs:
            if run.kind != DATA:
                continue
            if found and found[-1][:2] == (run.task, run.stream):
                found[-1] = (run.task, run.stream, found[-1][2] + join(run))
            else:
                found.append((run.task, run.stream, join(run)))
        if batch.next == position and not batch.runs:
            return found
        position, skip = batch.next, 0


def output(reader: JournalReader, **kwargs: object) -> bytes:
    return b"".join(piece[2] for piece in read_all(reader, **kwargs))  # type: ignore[arg-type]


def segment(store: JournalStore, number: int = 1, attempt: int = 1) -> Path:
    return store._root / UID / str(attempt) / f"{number:06d}.seg"


def test_output_is_read_as_it_was_written(store: JournalStore) -> None:
    """Streams and tasks stand in order of arrival, every byte once."""
    log = store.writer(UID, 1)
    put(log, "main-0", OUT, b"one ")
    put(log, "main-0", ERR, b"two ")
    put(log, "worker-11", OUT, b"three ")
    put(log, "main-0", OUT, b"four")
    reader = store.reader(UID, 1)
    assert read_all(reader) == [
        ("main-0", OUT, b"one "),
        ("main-0", ERR, b"two "),
        ("worker-11", OUT, b"three "),
        ("main-0", OUT, b"four"),
    ]
    assert read_all(reader, task="main-0", stream=OUT) == [("main-0", OUT, b"one four")]
    assert not reader.sealed


def test_what_is_there_already_is_not_stored_twice_and_a_hole_is_refused(
    store: JournalStore,
) -> None:
    """A collector that starts again too early does no harm; one that starts too late is told."""
    log = store.writer(UID, 1)
    log.append("main-0", OUT, 0, b"hello", 0)
    log.append("main-0", OUT, 2, b"llo world", 0)
    log.append("main-0", OUT, 0, b"hello", 0)
    with pytest.raises(ValueError, match="11 is wanted"):
        log.append("main-0", OUT, 12, b"x", 0)
    assert output(store.reader(UID, 1)) == b"hello world"
    assert log.offset("main-0", OUT) == 11


def test_a_gap_stands_where_output_is_lost(store: JournalStore) -> None:
    """Told twice it stands once, and output goes on behind it."""
    log = store.writer(UID, 1)
    put(log, "main-0", OUT, b"before")
    for _ in range(2):
        log.gap("main-0", OUT, 6, 10, "rotated away")
        log.gap("main-0", OUT, 16, 0, "nobody knows")
    log.append("main-0", OUT, 16, b"after", 0)
    runs = store.reader(UID, 1).read(0).runs
    assert [run.kind for run in runs] == [DATA, GAP, GAP, DATA]
    assert [(run.offset, run.gap()) for run in runs[1:3]] == [
        (6, (10, "rotated away")),
        (16, (0, "nobody knows")),
    ]
    assert runs[3].offset == 16
    with pytest.raises(ValueError, match="hole"):
        log.gap("main-0", OUT, 30, 1, "x")


def test_a_sealed_journal_is_complete_for_ever(store: JournalStore) -> None:
    """Sealing again is nothing; more output is refused; another process sees it too."""
    log = store.writer(UID, 1)
    put(log, "main-0", OUT, b"all")
    log.seal()
    log.seal()
    with pytest.raises(FailedPrecondition):
        put(log, "main-0", OUT, b"more")
    log.close()
    other = JournalStore(store._root)
    reader = other.reader(UID, 1)
    assert reader.sealed
    assert output(reader) == b"all"
    again = other.writer(UID, 1)
    assert again.offset("main-0", OUT) == 3
    again.append("main-0", OUT, 0, b"all", 0)
    again.seal()


def test_an_attempt_without_output_can_be_sealed(store: JournalStore) -> None:
    """Empty and complete is something else than not there."""
    reader = store.reader(UID, 1)
    assert not reader.sealed
    assert reader.read(0).next == 0
    log = store.writer(UID, 1)
    log.seal()
    log.close()
    assert JournalStore(store._root).reader(UID, 1).sealed
    assert reader.sealed
    assert reader.at_end(0)


def test_a_journal_has_one_writer(store: JournalStore) -> None:
    """A second one is refused until the first is closed."""
    log = store.writer(UID, 1)
    with pytest.raises(FailedPrecondition) as caught:
        store.writer(UID, 1)
    assert caught.value.reason == "JOURNAL_OPEN"
    log.close()
    store.writer(UID, 1).close()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["main-0", "main-1", "ps-0"]),
            st.sampled_from([OUT, ERR]),
            st.binary(min_size=1, max_size=40) | st.just(b"x" * 70_000),
        ),
        max_size=25,
    ),
    st.lists(st.integers(0, 25), max_size=4),
    st.integers(200, 150_000),
)
def test_every_position_gives_exactly_the_rest(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[Piece], reopen: list[int], size: int
) -> None:
    """Through reopened writers, several segments and filters: no byte lost, none twice."""
    store = JournalStore(tmp_path_factory.mktemp("j"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "SEGMENT_SIZE", size)
        log = store.writer(UID, 1)
        for number, (task, stream, data) in enumerate(pieces):
            if number in reopen:
                log.close()
                log = JournalStore(store._root).writer(UID, 1) if number % 2 else (
                    store.writer(UID, 1)
                )  # fmt: skip
            put(log, task, stream, data)
        log.seal()
        log.close()
    reader = JournalStore(store._root).reader(UID, 1)
    position, before = 0, b""
    whole = output(reader)
    assert whole == b"".join(data for _, _, data in pieces)
    while True:
        assert before + output(reader, position=position) == whole
        batch = reader.read(position)
        if batch.next == position:
            break
        before += b"".join(join(run) for run in batch.runs)
        position = batch.next
    for task in ("main-0", "main-1", "ps-0"):
        for stream in (OUT, ERR):
            wanted = b"".join(data for t, s, data in pieces if (t, s) == (task, stream))
            assert output(reader, task=task, stream=stream) == wanted


@pytest.mark.parametrize("cut", [1, 7, 30, 37])
def test_a_torn_tail_is_cut_off_and_collected_again(store: JournalStore, cut: int) -> None:
    """After a crash the writer wants what was torn, and readers never see half a frame."""
    log = store.writer(UID, 1)
    put(log, "main-0", OUT, b"whole ")
    put(log, "main-0", ERR, b"torn")
    log.close()
    path = segment(store)
    path.write_bytes(path.read_bytes()[:-cut])
    after = JournalStore(store._root)
    reader = after.reader(UID, 1)
    assert output(reader) == b"whole "
    position = reader.read(0).next
    log = after.writer(UID, 1)
    assert (log.offset("main-0", OUT), log.offset("main-0", ERR)) == (6, 0)
    put(log, "main-0", ERR, b"torn no more")
    assert output(reader, position=position) == b"torn no more"
    assert output(after.reader(UID, 1)) == b"whole torn no more"


@given(st.binary(max_size=100))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_behind_the_last_frame_does_no_harm(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes
) -> None:
    """As a loss of power leaves it."""
    store = JournalStore(tmp_path_factory.mktemp("j"))
    log = store.writer(UID, 1)
    put(log, "main-0", OUT, b"good")
    log.close()
    with segment(store).open("ab") as file:
        file.write(garbage)
    store = JournalStore(store._root)
    assert output(store.reader(UID, 1)) == b"good"
    log = store.writer(UID, 1)
    put(log, "main-0", OUT, b" more")
    assert output(store.reader(UID, 1)) == b"good more"


def test_a_position_that_a_crash_lost_is_refused(store: JournalStore) -> None:
    """A follower is told so, and never gets other output in its place."""
    log = store.writer(UID, 1)
    put(log, "main-0", OUT, b"kept ")
    put(log, "main-0", ERR, b"lost by the crash")
    lost = store.reader(UID, 1).read(0).next
    log.close()
    path = segment(store)
    path.write_bytes(path.read_bytes()[:-3])
    store = JournalStore(store._root)
    log = store.writer(UID, 1)
    put(log, "main-0", ERR, b"something else altogether")
    with pytest.raises(OutOfRange) as caught:
        store.reader(UID, 1).read(lost)
    assert caught.value.reason == "RESUME_TOKEN_EXPIRED"


def test_what_follows_a_torn_segment_is_collected_again(
    store: JournalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments reach the disk in any order: output behind a hole is not taken for contiguous."""
    monkeypatch.setattr(writer, "SEGMENT_SIZE", 100)
    log = store.writer(UID, 1)
    for number in range(12):
        put(log, "main-0", OUT, b"%020d" % number)
        if number == 5:
            lost = store.reader(UID, 1).end
    log.close()
    folder = segment(store).parent
    for index in folder.glob("*.idx"):
        index.unlink()
    whole_frames = segment(store, 2).read_bytes()
    segment(store, 2).write_bytes(whole_frames[: 8 + (len(whole_frames) - 8) // 2])
    for _ in range(2):  # also if the next start crashes at once
        store = JournalStore(store._root)
        log = store.writer(UID, 1)
        assert log.offset("main-0", OUT) < 12 * 20
        log.close()
    log = store.writer(UID, 1)
    known = log.offset("main-0", OUT)
    log.append("main-0", OUT, 0, b"".join(b"%020d" % number for number in range(12)), 0)
    assert known == 3 * 20
    assert output(store.reader(UID, 1)) == b"".join(b"%020d" % number for number in range(12))
    with pytest.raises(OutOfRange):
        store.reader(UID, 1).read(lost)


def test_damage_in_a_complete_journal_is_said_and_not_skipped(store: JournalStore) -> None:
    """DataLoss names the file; nothing is written."""
    log = store.writer(UID, 1)
    put(log, "main-0", OUT, b"first")
    put(log, "main-0", ERR, b"second")
    log.seal()
    log.close()
    raw = bytearray(segment(store).read_bytes())
    raw[50] ^= 0xFF
    segment(store).write_bytes(raw)
    with pytest.raises(DataLoss, match=r"000001\.seg"):
        read_all(JournalStore(store._root).reader(UID, 1))
    JournalStore(store._root).writer(UID, 1).close()
    assert segment(store).read_bytes() == raw


def test_a_reader_goes_on_while_another_process_writes(store: JournalStore) -> None:
    """Two stores on one folder, as two processes have: what is whole is seen, also after reopen."""
    reader = JournalStore(store._root).reader(UID, 1)
    log = store.writer(UID, 1)
    put(log, "main-0", OUT, b"a")
    assert output(reader) == b"a"
    position = reader.read(0).next
    log.close()
    log = store.writer(UID, 1)
    put(log, "main-0", OUT, b"b")
    assert output(reader, position=position) == b"b"
    log.seal()
    assert reader.sealed
    assert output(reader, position=position) == b"b"


def test_deleting_takes_everything_and_tells_the_readers(store: JournalStore) -> None:
    """Of an experiment without a journal nothing happens."""
    log = store.writer(UID, 1)
    put(log, "main-0", OUT, b"x")
    reader = store.reader(UID, 1)
    store.delete(UID)
    store.delete(UID)
    store.delete("never-there")
    with pytest.raises(NotFound):
        reader.read(0)
    with pytest.raises(FailedPrecondition):
        put(log, "main-0", OUT, b"y")
    log.close()
    assert list(store._root.iterdir()) == []


def test_a_deletion_that_crashed_is_finished_at_the_next_start(store: JournalStore) -> None:
    """Nothing of it is left."""
    store.writer(UID, 1).seal()
    (store._root / UID).rename(store._root / f".deleted-{UID}")
    JournalStore(store._root)
    assert list(store._root.iterdir()) == []


@pytest.mark.parametrize("uid", ["", "..", "../x", "a/b", "A", "x" * 64, ".deleted-x"])
def test_a_uid_is_never_a_path(store: JournalStore, uid: str) -> None:
    """Whatever anybody hands in."""
    with pytest.raises(ValueError, match="uid"):
        store.reader(uid, 1)


class TestTail:
    def start_of(self, store: JournalStore, lines: int, **kwargs: object) -> bytes:
        reader = store.reader(UID, 1)
        start = reader.tail(lines, **kwargs)  # type: ignore[arg-type]
        return output(reader, position=start.position, skip=start.skip, **kwargs)

    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(st.text("ab\n", min_size=1, max_size=12).map(str.encode), max_size=20),
        st.integers(0, 15),
    )
    def test_one_stream_has_the_lines_that_tail_has(
        self, tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], lines: int
    ) -> None:
        """As `tail -n`: a last line without a newline counts."""
        store = JournalStore(tmp_path_factory.mktemp("j"))
        log = store.writer(UID, 1)
        for piece in pieces:
            put(log, "main-0", OUT, piece)
        whole = b"".join(pieces).splitlines(keepends=True)
        assert self.start_of(store, lines) == b"".join(whole[max(0, len(whole) - lines) :])

    def test_lines_are_counted_over_what_is_asked_for(self, store: JournalStore) -> None:
        """Over all tasks, one task, one stream."""
        log = store.writer(UID, 1)
        for number in range(10):
            put(log, "a-0", OUT, b"a%d\n" % number)
            put(log, "b-0", ERR, b"b%d\n" % number)
        assert self.start_of(store, 3) == b"b8\na9\nb9\n"
        assert self.start_of(store, 2, task="a-0") == b"a8\na9\n"
        assert self.start_of(store, 1, stream=OUT) == b"a9\n"
        assert self.start_of(store, 5, task="a-0", stream=ERR) == b""

    def test_memory_is_bounded_for_one_line_of_100_mb(self, store: JournalStore) -> None:
        """The last line is all of it; finding that out takes no memory for it."""
        log = store.writer(UID, 1)
        chunk = b"x" * 65536
        for _ in range(1600):
            put(log, "main-0", OUT, chunk)
        reader = store.reader(UID, 1)
        tracemalloc.start()
        try:
            start = reader.tail(1)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert start.position == 0
        assert peak < 4_000_000

    def test_memory_is_bounded_for_a_million_lines(self, store: JournalStore) -> None:
        """The greatest number that may be asked for."""
        log = store.writer(UID, 1)
        chunk = b"line of output\n" * 4000
        for _ in range(300):
            put(log, "main-0", OUT, chunk)
        reader = store.reader(UID, 1)
        tracemalloc.start()
        try:
            start = reader.tail(1_000_000)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 4_000_000
        lines, position, skip = 0, start.position, start.skip
        while True:
            batch = reader.read(position, skip=skip)
            if batch.next == position:
                break
            lines += sum(join(run).count(b"\n") for run in batch.runs)
            position, skip = batch.next, 0
        assert lines == 1_000_000


def test_one_task_among_many_is_found_without_reading_the_rest(store: JournalStore) -> None:
    """The index takes a reader over blocks in which its task has nothing."""
    log = store.writer(UID, 1)
    put(log, "rare-0", OUT, b"first\n")
    for _ in range(200):
        put(log, "loud-0", OUT, b"x" * 65536)
    put(log, "rare-0", OUT, b"last\n")
    reader = store.reader(UID, 1)
    reads, position = 0, 0
    while (following := reader.read(position, task="rare-0").next) != position:
        position = following
        reads += 1
    assert output(reader, task="rare-0") == b"first\nlast\n"
    assert reads < 8 < 200 * 65536 / STRIDE
