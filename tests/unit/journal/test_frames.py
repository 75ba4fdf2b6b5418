from __future__ import annotations

import zlib
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from subgrpc.journal.checksum import crc32
from subgrpc.journal.frames import DATA, MAX_DATA, Run, carry_of, decode, encode, join, parse

WORDS = st.sampled_from([b"abc\n", "žluť €".encode(), "😀".encode(), b"\xff\xfe", b"\xe2\x82", b""])
"""Text with code points of 1 to 4 bytes, and what is none."""


def frame(data: bytes, offset: int = 0, time: int = 0, task: bytes = b"main-0") -> bytes:
    return b"".join(encode(DATA, task, 1, offset, time, b"", data))


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(edges)]


@given(st.lists(WORDS, max_size=12).map(b"".join), st.lists(st.integers(0, 100)))
def test_a_carry_depends_on_no_more_than_the_bytes_at_hand(data: bytes, cuts: list[int]) -> None:
    """Carry for carry, pieces make the text that the whole makes."""
    text, carry = b"", b""
    for piece in pieces(data, cuts):
        made, count = decode(carry + piece)
        text += made
        rest = (carry + piece)[count:]
        carry = carry_of(piece, carry)
        assert carry == rest
        assert len(carry) <= 3
    text += carry.decode("utf-8", "replace").encode()
    assert text == data.decode("utf-8", "replace").encode()


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=20))
def test_adjacent_frames_become_one_run(parts: list[bytes]) -> None:
    """Contiguous output of one stream is read as one piece, whose end is behind the last frame."""
    raw, offset = b"", 0
    for part in parts:
        raw += frame(part, offset)
        offset += len(part)
    parsed = parse(raw, 0, len(raw))
    assert [join(run) for run in parsed.runs] == ([b"".join(parts)] if parts else [])
    assert parsed.end == len(raw)
    assert not parsed.damaged


def test_a_run_ends_at_64_kib_at_a_hole_and_after_a_second() -> None:
    """A chunk has one offset and one time, and at most 64 KiB."""
    half = bytes(MAX_DATA // 2)
    frames = [
        frame(half, 0),
        frame(half, len(half)),
        frame(b"x", MAX_DATA),
        frame(b"later", MAX_DATA + 1, time=1_000_000),
        frame(b"hole", MAX_DATA + 10, time=1_000_001),
    ]
    runs = parse(b"".join(frames), 0, 10**6).runs
    assert [(run.offset, run.size) for run in runs] == [
        (0, MAX_DATA),
        (MAX_DATA, 1),
        (MAX_DATA + 1, 5),
        (MAX_DATA + 10, 4),
    ]


@given(st.binary(max_size=200), st.integers(0, 400))
def test_what_is_no_frame_is_never_read_as_one(garbage: bytes, cut: int) -> None:
    """A torn or damaged tail yields the whole frames before it, and no error."""
    good = frame(b"hello", 0) + frame(b"world", 5)
    raw = good + garbage
    parsed = parse(raw, 0, len(raw))
    assert b"".join(join(run) for run in parsed.runs) == b"helloworld"
    assert parsed.end == len(good)
    torn = good[: cut % len(good)]
    assert parse(torn, 0, len(torn)).end in (0, len(good) // 2)


@given(st.data())
def test_a_flipped_bit_is_found(data: st.DataObject) -> None:
    """Damage anywhere in a frame ends reading before it."""
    raw = bytearray(frame(b"some output", 0))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    assert parse(bytes(raw), 0, len(raw)).runs == []


@given(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=6), st.data())
def test_a_place_in_a_run_is_a_frame_and_bytes_of_it(
    parts: list[bytes], data: st.DataObject
) -> None:
    """Reading on from any place in a run gives the rest of it."""
    raw, offset = b"", 0
    for part in parts:
        raw += frame(part, offset)
        offset += len(part)
    if offset < 2:
        return
    run: Run = parse(raw, 0, len(raw)).runs[0]
    count = data.draw(st.integers(1, offset - 1))
    start, skip = run.locate(count)
    rest = parse(raw, start, len(raw), skip=skip).runs[0]
    assert rest.offset == count
    assert join(rest) == b"".join(parts)[count:]


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_the_checksum_is_the_one_of_zlib(head: bytes, data: bytes) -> None:
    """A journal that was written where zlib-ng is not installed is read where it is."""
    assert crc32(data, crc32(head)) == zlib.crc32(head + data)
    assert crc32(memoryview(data)) == zlib.crc32(data)


@given(st.lists(st.integers(1, MAX_DATA // 3), min_size=1, max_size=3), st.integers(0, MAX_DATA))
def test_long_frames_are_joined_as_short_ones_are(sizes: list[int], skip: int) -> None:
    """What is only looked at, and what was copied, make the same output."""
    whole = bytes(number % 251 for number in range(sum(sizes)))
    buffer, offset = b"", 0
    for size in sizes:
        buffer += frame(whole[offset : offset + size], offset)
        offset += size
    skip = min(skip, sizes[0] - 1)
    (run,) = parse(buffer, 0, len(buffer), skip=skip).runs
    assert join(run) == whole[skip:]
    assert isinstance(join(run), bytes)
    assert (run.offset, run.size) == (skip, len(whole) - skip)
