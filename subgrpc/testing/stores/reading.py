"""All that is asked for comes, or an error: never silently less."""

from __future__ import annotations

import contextlib

from subgrpc.artifacts import ArtifactStore
from subgrpc.errors import DataLoss, InvalidArgument, NotFound
from subgrpc.testing.stores.suite import Sources, Suite, content, pieces, put, refused, same

CONNECTIONS = 30
"""More than SDKs keep in a pool."""


class Reading(Suite):
    """Reading of objects."""

    def test_ranges(self, store: ArtifactStore, sources: Sources) -> None:
        """A part is that part; what goes beyond the end is cut off there."""
        for size in (0, 1, 1000, self.part_size + 1000):
            source, key = sources(size), f"ranges/{size}"
            put(store, key, source)
            places = {0, 1, size // 2, max(0, size - 1), size, size + 1, size + 10**9}
            for offset in sorted(places):
                for length in (0, 1, size // 3, size, size + 1, 10**12, None):
                    end = None if length is None else offset + length
                    found = content(store, key, offset, length)
                    what = f"get(offset={offset}, length={length}) of {size} bytes"
                    same(found, source.data[offset:end], what)

    def test_ranges_that_are_none(self, store: ArtifactStore, sources: Sources) -> None:
        """Negative ones are refused, and do not count from the end."""
        put(store, "object", sources(1000))
        for offset, length in ((-1, None), (-1, 1), (0, -1), (10, -1)):
            what = f"get() takes the offset {offset} and the length {length}"
            with refused(store, InvalidArgument, "OUT_OF_RANGE", what):
                content(store, "object", offset, length)

    def test_what_is_not_there(self, store: ArtifactStore, sources: Sources) -> None:
        """`get` says so, `stat` returns None; what only begins like it does not count."""
        put(store, "here/object.1", sources(10))
        for key in ("missing", "here", "here/object", "here/object.1.2"):
            for offset in (0, 10):
                with refused(store, NotFound, "OBJECT_NOT_FOUND", f"get({key!r}) succeeds"):
                    content(store, key, offset)
            assert store.stat(key) is None, f"stat() knows {key!r}, which was never put"

    def test_readers_that_stop(self, store: ArtifactStore, sources: Sources) -> None:
        """A reader that is closed early, or forgotten, holds up nobody."""
        source = sources(self.part_size + 1)
        put(store, "object", source)
        forgotten = []
        for n in range(CONNECTIONS):
            reader = store.get("object")
            assert source.data.startswith(next(reader)), "an object begins with other bytes"
            if n % 2:
                reader.close()
            else:
                forgotten.append(reader)
        del reader
        forgotten.clear()
        same(content(store, "object"), source.data, "an object after readers that stopped")

    def test_many_readers(self, store: ArtifactStore, sources: Sources) -> None:
        """Many read one object at the same time, each from another place."""
        source = sources(2 * self.part_size + 1)
        put(store, "object", source)
        starts = [source.size * n // 8 for n in range(8)]
        found = self.together(
            *(lambda start=start: content(store, "object", start) for start in starts)
        )
        for start, data in zip(starts, found, strict=True):
            same(data, source.data[start:], f"get(offset={start}) beside seven others")

    def test_an_object_that_is_deleted_under_its_reader(
        self, store: ArtifactStore, sources: Sources
    ) -> None:
        """All of it comes, or an error."""
        source = sources(self.big)
        put(store, "object", source)
        reader = pieces(store.get("object"))
        found = [next(reader)]
        store.delete("object")
        with contextlib.suppress(NotFound, DataLoss):
            found.extend(reader)
            same(b"".join(found), source.data, "an object that was deleted under its reader")
