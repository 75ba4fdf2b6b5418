"""The journal's frames: how one piece of output is written, and how runs of them are read.

A frame is a 28-byte header, the task's id, the carry and the data. The header, little-endian:
size of what follows the first 8 bytes (u32), CRC-32 of the same (u32), offset in the task's
stream (u64), time of arrival in µs since the epoch (i64), length of the carry (u8), kind (u8),
stream (u8), length of the task's id (u8).

The carry is what was incomplete, as UTF-8, at the end of the stream's frame before: at most 3
bytes. With it a frame can be read as text without any other, so that a position is all that a
resumed TEXT stream needs.
"""

from __future__ import annotations

import codecs
import struct
from dataclasses import dataclass, field
from typing import Final

from subgrpc.journal.checksum import crc32

DATA: Final = 0
"""Output."""
GAP: Final = 1
"""Output that is lost: the data is its length (u64) and a message for a person."""
FLUSH: Final = 2
"""No output: the carry will never be completed, for a gap or the end follows."""

MAX_DATA: Final = 64 * 1024
"""Greatest number of bytes of output in a frame, and in a run."""
MAX_RUN_TIME: Final = 1_000_000
"""Greatest span of arrival times in a run, µs: a run has one time, so this is its precision."""

HEADER: Final = struct.Struct("<IIQqBBBB")
MAX_FRAME: Final = HEADER.size + 255 + 3 + MAX_DATA
"""Greatest size of a frame in bytes."""
_LONG: Final = 4096
"""Data of so many bytes is cheaper to look at than to copy."""
_CHECKED: Final = 8
"""Bytes of a frame that stand before those that the CRC covers."""
_BODY: Final = struct.Struct("<QqBBBB")
_GAP_LENGTH: Final = struct.Struct("<Q")


@dataclass(slots=True)
class Run:
    """Adjacent frames of one stream of one task whose output is contiguous; or a gap; or a flush.

    Attributes:
        kind: DATA, GAP or FLUSH; only DATA has more than one frame.
        task: the task's id, "role-index".
        stream: the stream's number.
        offset: where `parts` start in the task's stream, bytes; the carry stands before it.
        time: when the first frame arrived, µs since the epoch.
        carry: the carry of the first frame; empty if reading began within that frame.
        parts: the data of each frame; of a gap, its data. What is long is a view of the buffer that
            it was read from: it is copied when it is joined, and not before.
        starts: the frames' places in the buffer that they were read from.
        skip: bytes of the first frame that were left out of `parts`.
        size: the sum of the lengths of carry and parts.
        end: the place behind the last frame.
    """

    kind: int
    task: str
    stream: int
    offset: int
    time: int
    carry: bytes
    parts: list[bytes | memoryview]
    starts: list[int]
    size: int
    end: int
    skip: int = 0

    def gap(self) -> tuple[int, str]:
        """Returns a gap's length in bytes (0: not known) and its message."""
        data = join(self)
        return _GAP_LENGTH.unpack_from(data)[0], data[8:].decode()

    def locate(self, count: int) -> tuple[int, int]:
        """Returns (start of the frame, bytes of it) behind `count` bytes of carry and parts.

        `count` is greater than the carry's length and less than `size`.
        """
        rest = count - len(self.carry)
        skipped = self.skip
        for start, part in zip(self.starts, self.parts, strict=True):
            if rest < len(part):
                # At a frame's very start its carry belongs to it: 0 bytes of it are gone.
                return start, rest + skipped if rest else 0
            rest -= len(part)
            skipped = 0
        raise ValueError(f"{count} bytes are not within a run of {self.size}")


@dataclass(slots=True)
class Parsed:
    """What `parse` found.

    Attributes:
        runs: the runs, in order.
        end: the place behind the last whole frame.
        damaged: whether what stands there is not the beginning of a frame.
    """

    runs: list[Run] = field(default_factory=list)
    end: int = 0
    damaged: bool = False


def encode(
    kind: int, task: bytes, stream: int, offset: int, time: int, carry: bytes, data: bytes
) -> tuple[bytes, bytes]:
    """Returns a frame in two pieces, the second of which is `data` itself."""
    body = _BODY.pack(offset, time, len(carry), kind, stream, len(task)) + task + carry
    crc = crc32(data, crc32(body))
    return struct.pack("<II", len(body) + len(data), crc) + body, data


def encode_gap(length: int, message: str) -> bytes:
    """Returns the data of a gap's frame; the message is cut at 1,000 characters."""
    return _GAP_LENGTH.pack(length) + message[:1000].encode()


def carry_of(data: bytes, carry: bytes) -> bytes:
    """Returns what is incomplete at the end of `carry` and `data` together, as UTF-8.

    UTF-8 synchronises itself: at most the last 3 bytes decide.
    """
    if data[-1:] < b"\x80":
        return b""
    tail = (carry + data[-3:])[-3:]
    return tail[codecs.utf_8_decode(tail, "replace", False)[1] :]


def parse(
    buffer: bytes,
    at: int,
    stop: int,
    *,
    task: str = "",
    stream: int = 0,
    skip: int = 0,
    check: bool = True,
) -> Parsed:
    """Reads the frames that start at `at` or behind it and before `stop`, as runs.

    Args:
        buffer: bytes of a segment; a frame that does not end in it is left for later.
        at: where the first frame starts.
        stop: where to stop.
        task: only this task's frames; empty: all.
        stream: only this stream's frames; 0: all.
        skip: bytes of the first frame that are not wanted any more.
        check: whether to check the CRC; not needed for what this process wrote itself.
    """
    unpack, view, size_of_header = HEADER.unpack_from, memoryview(buffer), 28
    length = len(buffer)
    runs: list[Run] = []
    run: Run | None = None
    key = b""
    room = due = next_offset = 0
    while at < stop and at + size_of_header <= length:
        size, crc, offset, time, carry_size, kind, of_stream, task_size = unpack(buffer, at)
        body = at + size_of_header
        end = at + _CHECKED + size
        if size > MAX_FRAME or end < body + task_size + carry_size:
            return Parsed(runs, at, damaged=True)
        if end > length:
            break
        if check and crc32(view[at + _CHECKED : end]) != crc:
            return Parsed(runs, at, damaged=True)
        start = body + task_size + carry_size
        count = end - start
        if (
            run is not None
            and kind == DATA
            and offset == next_offset
            and count <= room
            and time < due
            and buffer[at + 26 : body + task_size] == key
        ):
            run.parts.append(buffer[start:end] if count < _LONG else view[start:end])
            run.starts.append(at)
            run.size += count
            run.end = end
            room -= count
            next_offset += count
        else:
            name = buffer[body : body + task_size].decode()
            if (not task or name == task) and (not stream or of_stream == stream):
                cut = min(skip, count)
                carry = b"" if cut else buffer[body + task_size : start]
                part = buffer[start + cut : end] if count < _LONG else view[start + cut : end]
                run = Run(
                    kind, name, of_stream, offset + cut, time, carry, [part],
                    [at], len(carry) + count - cut, end, cut,
                )  # fmt: skip
                runs.append(run)
                if kind == DATA:
                    key = buffer[at + 26 : body + task_size]
                    room, due = MAX_DATA - run.size, time + MAX_RUN_TIME
                    next_offset = offset + count
                else:
                    run = None
        skip = 0
        at = end
    return Parsed(runs, at)


def decode(raw: bytes) -> tuple[bytes, int]:
    """Reads bytes as UTF-8.

    Returns:
        The text as UTF-8, with U+FFFD for what is not UTF-8, and the number of bytes that it was
        made from: less than all if the last code point is incomplete.
    """
    if raw.isascii():
        return raw, len(raw)
    try:
        count = codecs.utf_8_decode(raw, "strict", False)[1]
    except UnicodeDecodeError:
        text, count = codecs.utf_8_decode(raw, "replace", False)
        return text.encode(), count
    return raw[:count], count


def join(run: Run) -> bytes:
    """Returns a run's parts as one."""
    first = run.parts[0]
    return first if len(run.parts) == 1 and isinstance(first, bytes) else b"".join(run.parts)
