"""How far each stream has come at a place in a journal, and what of a run is still to be sent.

Several servers may keep the output of one attempt in turn, each in a journal of its own: the same
bytes of every stream, interleaved in another way, so that a position in one means nothing in
another. What a resume token of a shared metastore holds beside it does: the offset that each
stream had come to. A journal is then read from its beginning, and what stands before is cut off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from subgrpc.journal import DATA, FLUSH, GAP, Run
from subgrpc.journal.frames import encode_gap
from subgrpc.journal.segments import StreamKey, StreamState
from subgrpc.services.wire import varint

MAX_STREAMS: Final = 64
"""Of so many streams a token tells how far they have come; a token has at most 2048 characters."""
TOO_MANY: Final = b"\x80"
"""What stands for more; no list of streams looks like it, for a varint does not end so."""


class Reached:
    """The offsets up to which streams have been sent.

    Encoded, each stream is three varints: the number of its task group in the spec, four times,
    plus 2 for stderr, plus 1 if the last that came was a gap of unknown length; the index of its
    task; its offset.
    """

    __slots__ = ("_coded", "_ends", "_over", "_roles", "_text")

    def __init__(self, roles: Sequence[str], encoded: bytes, *, text: bool) -> None:
        """Takes what `encode` returned.

        Args:
            roles: those of the experiment's task groups, in order.
            encoded: where to start; empty: at the beginning.
            text: whether the carry of a run, too, is still to be sent.
        """
        self._roles = roles
        self._text = text
        self._over = encoded == TOO_MANY
        self._ends: dict[StreamKey, tuple[int, bool]] = {}
        self._coded: dict[StreamKey, bytes] = {}
        if encoded and not self._over:
            self._decode(encoded)

    def encode(self) -> bytes:
        """Returns all of it in few bytes; empty: nothing was sent; or `TOO_MANY`."""
        return TOO_MANY if self._over else b"".join(self._coded.values())

    def rest(self, run: Run) -> Run | None:
        """Returns what of a run has not been sent; None: nothing."""
        known = self._ends.get((run.task, run.stream))
        if known is None or self._over:
            return run
        end, gapped = known
        if run.kind == GAP:
            return _rest_of_gap(run, end, gapped)
        if run.kind == FLUSH:
            return _without_carry(run, end) if end < run.offset else None
        if end <= run.offset:
            return _without_carry(run, end)
        behind = run.offset + run.size - len(run.carry)
        return _behind(run, end) if end < behind else None

    def note(self, run: Run, end: int) -> bytes:
        """Notes that a run was sent up to an offset; returns what `encode` then does."""
        if self._over:
            return TOO_MANY
        key = (run.task, run.stream)
        gapped = run.kind == GAP and not run.gap()[0]
        self._set(key, end, gapped)
        return self.encode()

    def start(self, streams: Mapping[StreamKey, StreamState]) -> bytes:
        """Notes how far the streams of a journal have come; returns what `encode` then does."""
        for key, state in streams.items():
            undone = len(state.carry) if self._text else 0
            if not self._over and (state.end or state.gapped):
                self._set(key, state.end - undone, state.gapped)
        return self.encode()

    def _set(self, key: StreamKey, end: int, gapped: bool) -> None:
        role, _, index = key[0].rpartition("-")
        if role not in self._roles or (key not in self._ends and len(self._ends) == MAX_STREAMS):
            self._over = True
            return
        head = self._roles.index(role) << 2 | (key[1] - 1) << 1 | gapped
        self._ends[key] = (end, gapped)
        self._coded[key] = varint(head) + varint(int(index)) + varint(end)

    def _decode(self, encoded: bytes) -> None:
        numbers = _varints(encoded)
        for head, index, end in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True):
            key = (f"{self._roles[head >> 2]}-{index}", (head >> 1 & 1) + 1)
            self._set(key, end, bool(head & 1))


def _varints(encoded: bytes) -> list[int]:
    found: list[int] = []
    value = shift = 0
    for byte in encoded:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            found.append(value)
            value = shift = 0
    return found


def _rest_of_gap(run: Run, end: int, gapped: bool) -> Run | None:
    length, message = run.gap()
    if not length:
        known = run.offset < end or (run.offset == end and gapped)
        return None if known else run
    if end <= run.offset:
        return run
    left = run.offset + length - end
    if left <= 0:
        return None
    data = encode_gap(left, message)
    return replace(run, offset=end, parts=[data], size=len(run.carry) + len(data))


def _without_carry(run: Run, end: int) -> Run:
    """Cuts off what of the carry was sent."""
    gone = end - (run.offset - len(run.carry))
    if gone <= 0 or not run.carry:
        return run
    return replace(run, carry=run.carry[gone:], size=run.size - min(gone, len(run.carry)))


def _behind(run: Run, end: int) -> Run:
    """The data of a run behind an offset within it."""
    assert run.kind == DATA
    gone, first = end - run.offset, 0
    while gone >= len(run.parts[first]):
        gone -= len(run.parts[first])
        first += 1
    return replace(
        run,
        offset=end,
        carry=b"",
        parts=[run.parts[first][gone:], *run.parts[first + 1 :]],
        starts=run.starts[first:],
        size=run.offset + run.size - len(run.carry) - end,
        skip=gone + (0 if first else run.skip),
    )
