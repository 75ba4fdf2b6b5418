from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from subgrpc.journal import STRIDE, JournalStore, writer
from subgrpc.journal.frames import join

from .conftest import ERR, OUT, UID, output, put


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


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a-0", "b-0"]),
            st.sampled_from([OUT, ERR]),
            st.text("a\n€", min_size=1, max_size=12).map(str.encode),
        ),
        max_size=20,
    ),
    st.integers(0, 15),
    st.sampled_from([64, 64 << 20]),
)
def test_where_a_tail_starts_each_stream_has_come_to_what_follows(
    pieces: list[tuple[str, int, bytes]], lines: int, size: int
) -> None:
    """Also those of which nothing follows, and over any number of segments."""
    before, writer.SEGMENT_SIZE = writer.SEGMENT_SIZE, size  # type: ignore[misc]
    try:
        with tempfile.TemporaryDirectory() as folder:
            store = JournalStore(Path(folder))
            log = store.writer(UID, 1)
            for task, stream, piece in pieces:
                put(log, task, stream, piece)
            reader = store.reader(UID, 1)
            start = reader.tail(lines)
            streams = reader.streams(start)
            for task, stream in {piece[:2] for piece in pieces}:
                whole = b"".join(each for *key, each in pieces if key == [task, stream])
                rest = output(
                    reader, position=start.position, skip=start.skip, task=task, stream=stream
                )
                come = streams[task, stream].end if (task, stream) in streams else 0
                assert whole[come:] == rest
            log.seal()  # what is made durable in the background is, before the folder goes
            log.close()
    finally:
        writer.SEGMENT_SIZE = before  # type: ignore[misc]
