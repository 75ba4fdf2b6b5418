from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from subgrpc.errors import FailedPrecondition, NotFound
from subgrpc.journal import DATA, GAP, JournalStore, writer
from subgrpc.journal.frames import join

from .conftest import ERR, OUT, UID, Piece, output, put, read_all


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
