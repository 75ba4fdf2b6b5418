"""What the tests of the contract of artifact stores share, and what an author may say."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import random
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import pytest

from subgrpc.artifacts import ArtifactStore, StoreSettings
from subgrpc.errors import NotFound, SubgrpcError
from subgrpc.plugins import PluginManager, open_store

T = TypeVar("T")
NewStore = Callable[[], ArtifactStore]
PIECE: Final = 1 << 20
"""Most bytes of one piece of `get`."""
NOISE: Final = random.Random(7).randbytes(64 << 10)


@dataclass(frozen=True)
class Source:
    """A file that is to be put."""

    path: Path
    data: bytes

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.data)

    @functools.cached_property
    def sha256(self) -> bytes:
        """Of its content."""
        return hashlib.sha256(self.data).digest()


class Sources:
    """Makes files in a folder: of a number of bytes, which are never those of another."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._made = 0

    def __call__(self, content: int | bytes) -> Source:
        """Makes a file with that content, or that many bytes."""
        with self._lock:
            self._made += 1
            number = self._made
        data = unique(content, number) if isinstance(content, int) else content
        path = self._folder / f"source-{number}"
        path.write_bytes(data)
        return Source(path, data)


def unique(size: int, number: int) -> bytes:
    """Bytes of which no 64 KiB are like any others, of this number or another; quickly."""
    marks = (hashlib.sha256(b"%d %d" % (number, n)).digest() for n in range(-(-size // len(NOISE))))
    return b"".join(mark + NOISE[len(mark) :] for mark in marks)[:size]


@contextlib.contextmanager
def refused(
    store: ArtifactStore, kind: type[SubgrpcError], reason: str, otherwise: str
) -> Iterator[None]:
    """Asserts an error with its reason and the store's name; `otherwise`: what was done instead."""
    wanted = f"it has to raise {kind.__name__} {reason}"
    found: SubgrpcError | None = None
    try:
        yield
    except SubgrpcError as error:
        found = error
    assert found is not None, f"{otherwise}: {wanted}"
    shown = f"{type(found).__name__} {found.reason}: {found.message}"
    assert isinstance(found, kind), f"{otherwise}: {wanted}, and raised {shown}"
    assert found.reason == reason, f"{wanted}, and raised {shown}"
    assert store.name in found.message, f"an error does not name the store: {shown}"


def put(store: ArtifactStore, key: str, source: Source, *, take: bool = False) -> None:
    """Puts a file."""
    store.put(key, source.path, source.size, source.sha256, take=take)


def pieces(reader: Generator[bytes, None, None]) -> Iterator[bytes]:
    """What a reader yields, which has to come in pieces of the right size."""
    for piece in reader:
        assert piece, "get() yields a piece without bytes"
        assert len(piece) <= PIECE, f"get() yields a piece of {len(piece)} bytes"
        yield bytes(piece)


def content(store: ArtifactStore, key: str, offset: int = 0, length: int | None = None) -> bytes:
    """Reads an object, or a part of it."""
    return b"".join(pieces(store.get(key, offset, length)))


def absent(store: ArtifactStore, key: str, why: str) -> None:
    """Asserts that no method shows an object."""
    found = store.stat(key)
    assert found is None, f"stat() knows {found}, {why}"
    listed = [each for each in store.list() if each.key == key]
    assert not listed, f"list() shows {listed}, {why}"
    with contextlib.suppress(NotFound):
        data = content(store, key)
        raise AssertionError(f"get() yields {len(data)} bytes of an object, {why}")


def same(found: bytes, wanted: bytes, what: str) -> None:
    """Asserts that bytes are equal, without printing megabytes."""
    if found == wanted:
        return
    pairs = zip(found, wanted, strict=False)
    place = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(found), len(wanted)))
    raise AssertionError(
        f"{what}: {len(found)} bytes instead of {len(wanted)}, different from byte {place} on"
    )


class Suite:
    """What the tests share. A subclass may set the attributes and override the methods."""

    patience = 60.0
    """Seconds within which every call has to end, also in an outage."""
    part_size = 8 << 20
    """From how many bytes on the store sends objects in parts: such sizes are tried."""
    big = (64 << 20) + 1
    """The size of a big object, in bytes."""
    memory = 40 << 20
    """Bytes that putting or getting a big object may take; less than `big`."""
    many = 1100
    """How many objects a long list has: more than the store gives in one answer."""
    shortly = timedelta(seconds=1)
    """The least time that a signed URL can be valid."""
    kills = 3
    """How many processes are killed while they put."""

    def open(self, settings: StoreSettings) -> ArtifactStore:
        """Makes a store as the server does, through its entry point."""
        return open_store(settings, PluginManager())

    def outage(self) -> AbstractContextManager[None]:
        """Cuts the stores of this test off from their server until the context is left."""
        pytest.skip("this store cannot be cut off: `outage` is not overridden")

    def denied(self, settings: StoreSettings) -> StoreSettings:
        """Returns settings of the same place without the right to write there."""
        pytest.skip("`denied` is not overridden")

    def missing(self, settings: StoreSettings) -> StoreSettings:
        """Returns settings of a place that is not there."""
        pytest.skip("`missing` is not overridden")

    def full(self, settings: StoreSettings) -> AbstractContextManager[StoreSettings]:
        """Settings of an empty place with room for 1 MiB, but not for 16 MiB, and how to end it."""
        pytest.skip("`full` is not overridden")

    def leftovers(self, settings: StoreSettings) -> Sequence[str]:
        """Names all that the place has, but finished objects: what was begun and not removed."""
        return ()

    def sizes(self) -> list[int]:
        """Sizes at which stores do things differently."""
        edges = {PIECE, self.part_size, 2 * self.part_size}
        return sorted({0, 1, *(edge + more for edge in edges for more in (-1, 0, 1))})

    def together(self, *calls: Callable[[], T]) -> list[T]:
        """Makes calls at the same time, each in a thread of its own; raises the first error."""
        barrier = threading.Barrier(len(calls))

        def run(call: Callable[[], T]) -> T:
            barrier.wait(self.patience)
            return call()

        begun = [Begun(functools.partial(run, call)) for call in calls]
        return [each.result(self.patience, "a call") for each in begun]


class Begun(Generic[T]):
    """A call in a thread of its own, which holds up nobody if it never ends."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def result(self, patience: float, what: str) -> T:
        """Waits for the end of the call: returns what it returns, or raises what it raises."""
        self._thread.join(patience)
        assert not self._thread.is_alive(), f"{what} did not end within {patience:g} s"
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _run(self) -> None:
        try:
            self._result.append(self._call())
        except BaseException as error:
            self._error = error


def calls_of(store: ArtifactStore, key: str, source: Source) -> dict[str, Callable[[], Any]]:
    """Every call that needs the store's server, by what it is called."""
    return {
        "stat()": lambda: store.stat(key),
        "get()": lambda: content(store, key),
        "list()": lambda: list(store.list()),
        "put()": lambda: put(store, f"{key}.new", source),
        "delete()": lambda: store.delete(key),
        "check()": store.check,
    }
