from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from subgrpc.errors import DataLoss, OutOfRange
from subgrpc.journal import JournalStore, writer

from .conftest import ERR, OUT, UID, output, put, read_all, segment


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
