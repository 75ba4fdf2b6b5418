"""Files that are put together from blobs, and what is taken up of them."""

from __future__ import annotations

import hashlib
import os
import random
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subgrpc.client.transfer.assembly import Assembled, wanted
from subgrpc.client.transfer.sink import Sink
from subgrpc.errors import DataLoss
from subgrpc.v1.artifact_service_pb2 import ArtifactFile

MIB = 1 << 20
POOL = [random.Random(n).randbytes(size) for n, size in enumerate((1, 5000, MIB, 3 * MIB))]
POOL.append(bytes(2 * MIB + 1))


def entry(path: str, parts: list[int]) -> ArtifactFile:
    content = b"".join(POOL[each] for each in parts)
    made = ArtifactFile(path=path, size_bytes=len(content))
    made.sha256 = hashlib.sha256(content).hexdigest()
    if len(parts) > 1:
        for each in parts:
            digest = hashlib.sha256(POOL[each]).hexdigest()
            made.chunks.add(digest=digest, size_bytes=len(POOL[each]))
    return made


def content_of(parts: list[int]) -> bytes:
    return b"".join(POOL[each] for each in parts)


CONTENT = {hashlib.sha256(each).hexdigest(): each for each in POOL}


class Assembly:
    """Several files of one folder."""

    def __init__(self, folder: Path, parts: list[list[int]]) -> None:
        self.parts = parts
        self.files = [
            Assembled(str(folder), entry(f"file{n}", each)) for n, each in enumerate(parts)
        ]

    def take_up(self) -> int:
        return sum(each.take_up() for each in self.files)

    def receive(self, pieces: random.Random, stop_after: int = 1 << 60) -> int:
        """Brings blobs in some order, in pieces; returns how many bytes, at most about so many."""

        def is_part(file: Assembled, chunk: int) -> None:
            if file.add(chunk):
                file.hash_on()

        for file in self.files:
            if not file.chunks:
                file.create(b"")
            if file.can_hash():
                file.hash_on()
        blobs = wanted(self.files)
        pieces.shuffle(blobs)
        came = 0
        for blob in blobs:
            sink = Sink(blob, is_part)
            while not sink.is_complete and came < stop_after:
                size = pieces.choice([1000, MIB, 16 * MIB])
                data = CONTENT[blob.digest][sink.received : sink.received + size]
                came += len(data)
                sink.take(sink.received, data)
            sink.pause()
        return came

    def check(self) -> None:
        for file, parts in zip(self.files, self.parts, strict=True):
            assert file.is_complete
            assert Path(file.path).read_bytes() == content_of(parts)


PARTS = st.lists(st.lists(st.integers(0, len(POOL) - 1), max_size=4), min_size=1, max_size=4)


@settings(max_examples=40)
@given(PARTS, st.integers(0, 10 * MIB), st.randoms(use_true_random=False))
def test_interrupted_and_taken_up(
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[list[int]],
    stop: int,
    pieces: random.Random,
) -> None:
    """Whatever came, in whatever order, and wherever it broke off: the rest comes, nothing else."""
    folder = tmp_path_factory.mktemp("assembly")
    first = Assembly(folder, parts)
    first.receive(pieces, stop)
    second = Assembly(folder, parts)
    total = sum(each.entry.size_bytes for each in second.files)
    there = second.take_up()
    lacking = sum(each.size for each in wanted(second.files))
    assert lacking <= total - there
    assert second.receive(pieces) == lacking
    second.check()


def test_each_blob_comes_once(tmp_path: Path) -> None:
    """However often, and in however many files, it stands."""
    assembly = Assembly(tmp_path, [[3, 3, 3], [3], [1, 3], [1], []])
    assert assembly.receive(random.Random(1)) == len(POOL[3]) + len(POOL[1])
    assembly.check()


def test_what_was_left_is_compared(tmp_path: Path) -> None:
    """A byte that is another costs its chunk, not the file."""
    parts = [[2, 3, 4], [3]]
    Assembly(tmp_path, parts).receive(random.Random(1))
    with open(tmp_path / "file0", "r+b") as file:
        file.seek(len(POOL[2]) + 10)
        file.write(b"other")
    again = Assembly(tmp_path, parts)
    assert again.take_up() == len(content_of([2, 4, 3]))
    assert [each.size for each in wanted(again.files)] == [len(POOL[3])]
    again.receive(random.Random(2))
    again.check()


@pytest.mark.parametrize("what", ["link", "folder", "pipe"])
def test_what_is_no_file_is_not_taken_up(what: str, tmp_path: Path) -> None:
    """Nothing is read or written through it."""
    (tmp_path / "elsewhere").write_bytes(POOL[1])
    place = tmp_path / "file0"
    if what == "link":
        place.symlink_to("elsewhere")
    elif what == "folder":
        place.mkdir()
    else:
        os.mkfifo(place)
    with pytest.raises(OSError, match="file0") if what != "pipe" else nullcontext():
        assert Assembly(tmp_path, [[1]]).take_up() == 0


def test_damaged_bytes_are_asked_for_again(tmp_path: Path) -> None:
    """Twice; then it is an error, and the file is not said to be complete."""
    (file,) = Assembly(tmp_path, [[1]]).files
    (blob,) = wanted([file])
    sink = Sink(blob, lambda *_: None)
    for _ in range(2):
        sink.take(0, bytes(blob.size))
        assert (sink.is_complete, sink.received) == (False, 0)
    with pytest.raises(DataLoss) as lost:
        sink.take(0, bytes(blob.size))
    assert lost.value.reason == "DOWNLOAD_DAMAGED"
    assert not file.is_complete


def test_what_is_left_to_the_file_is_compared_by_it(tmp_path: Path) -> None:
    """A part that was not looked at by itself does not make a file complete."""
    (file,) = Assembly(tmp_path, [[1, 2]]).files
    first, second = wanted([file])
    for blob, data in ((first, bytes(first.size)), (second, CONTENT[second.digest])):
        sink = Sink(blob, lambda file, chunk: file.add(chunk) and None)
        sink.trust()
        sink.take(0, data)
        assert sink.is_complete
    with pytest.raises(DataLoss):
        file.hash_on()
    assert not file.is_complete
    # The next pull finds out which part it was.
    (again,) = Assembly(tmp_path, [[1, 2]]).files
    again.take_up()
    assert [each.digest for each in wanted([again])] == [first.digest]
    (single,) = Assembly(tmp_path / "..", [[1]]).files
    sink = Sink(wanted([single])[0], lambda *_: None)
    sink.trust()
    assert sink.compares


def test_bytes_from_elsewhere_are_refused(tmp_path: Path) -> None:
    """Where the next byte belongs is known here; a server that is mistaken harms nothing."""
    (file,) = Assembly(tmp_path, [[1]]).files
    (blob,) = wanted([file])
    for offset, size in ((1, 10), (0, blob.size + 1)):
        with pytest.raises(DataLoss):
            Sink(blob, lambda *_: None).take(offset, bytes(size))


def test_a_file_that_its_chunks_do_not_make(tmp_path: Path) -> None:
    """A digest or a size of the whole that is wrong is noticed though every chunk is right."""
    assembly = Assembly(tmp_path, [[1, 2]])
    assembly.files[0].entry.sha256 = "0" * 64
    with pytest.raises(DataLoss, match="does not have the SHA-256"):
        assembly.receive(random.Random(1))
    wrong = entry("x", [1, 2])
    wrong.size_bytes += 1
    with pytest.raises(DataLoss, match="the chunks of"):
        Assembled(str(tmp_path), wrong)


def test_permissions(tmp_path: Path) -> None:
    """Those of the artifact, as far as the umask goes; who pulls may write."""
    before = os.umask(0o027)
    try:
        for mode, expected in ((0, 0o640), (0o777, 0o750), (0o444, 0o640), (0o600, 0o600)):
            made = entry(f"file{mode}", [1])
            made.mode = mode
            file = Assembled(str(tmp_path), made)
            file.create(POOL[1])
            assert oct(os.stat(file.path).st_mode & 0o7777) == oct(expected)
    finally:
        os.umask(before)
