"""What is put is there, whole, or not at all."""

from __future__ import annotations

import contextlib
import functools
import threading
import tracemalloc
from collections.abc import Callable, Iterator

from subgrpc.artifacts import ArtifactStore, StoreSettings
from subgrpc.errors import AlreadyExists, InvalidArgument
from subgrpc.testing.stores.suite import (
    Begun,
    NewStore,
    Source,
    Sources,
    Suite,
    absent,
    content,
    put,
    refused,
    same,
)

BAD_KEYS = (
    "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", ".a", "a/.b", "A", "a b", "a\\b",
    "a\0", "ä", "a?b", "a%2fb", "a\n", "a" * 201,
)  # fmt: skip


class Putting(Suite):
    """Writing of objects."""

    def test_its_settings(self, settings: StoreSettings, store: ArtifactStore) -> None:
        """A store has the name and the scheme that it was configured with."""
        assert store.name == settings.name, f"it is called {store.name!r}, not {settings.name!r}"
        scheme = type(store).scheme
        assert settings.url.startswith(f"{scheme}:"), f"its scheme is {scheme!r}"

    def test_wrong_settings(self, settings: StoreSettings) -> None:
        """A password in a URL is refused and not repeated; so is an option that nobody knows."""
        place = settings.url.partition("://")[2]
        for wrong in (
            StoreSettings(settings.name, f"{settings.url.partition(':')[0]}://u:hush@{place}"),
            StoreSettings(settings.name, settings.url, {**settings.options, "no-such-option": "x"}),
        ):
            found: InvalidArgument | None = None
            try:
                self.open(wrong)
            except InvalidArgument as error:
                found = error
            assert found is not None, f"a store is made of {wrong}"
            assert found.reason == "STORE_INVALID", f"the reason is {found.reason}"
            assert settings.name in found.message, f"an error does not name it: {found.message}"
            assert "hush" not in found.message, f"an error repeats a password: {found.message}"

    def test_check(self, store: ArtifactStore) -> None:
        """A store that works passes its own check, which leaves nothing."""
        store.check()
        left = list(store.list())
        assert not left, f"check() has left {left}"

    def test_sizes(self, store: ArtifactStore, sources: Sources) -> None:
        """Objects of every size come back as they were, and `stat` knows their size."""
        for size in self.sizes():
            source, key = sources(size), f"sizes/{size}"
            put(store, key, source)
            same(content(store, key), source.data, f"an object of {size} bytes")
            found = store.stat(key)
            assert found is not None, f"stat() knows nothing of an object of {size} bytes"
            assert (found.key, found.size) == (key, size), f"stat() says {found} of {key}, {size}"
            assert source.path.read_bytes() == source.data, "put() has changed its source"

    def test_a_big_object(self, store: ArtifactStore, sources: Sources) -> None:
        """It comes back as it was; neither way is it ever as a whole in memory."""
        source = sources(self.big)
        with self._measured("put()"):
            put(store, "big", source)
        view, place = memoryview(source.data), 0
        with self._measured("get()"):
            for piece in store.get("big"):
                assert piece == view[place : place + len(piece)], f"it differs after byte {place}"
                place += len(piece)
        assert place == self.big, f"get() ended at byte {place} of {self.big}"

    def test_taking(self, store: ArtifactStore, sources: Sources) -> None:
        """With `take` the source is gone, or as it was; the object is there in any case."""
        for size in (0, 1, self.part_size + 1):
            source, key = sources(size), f"taken/{size}"
            put(store, key, source, take=True)
            same(content(store, key), source.data, "an object that was taken")
            if source.path.exists():
                same(source.path.read_bytes(), source.data, "the source of what was taken")

    def test_putting_again(self, store: ArtifactStore, sources: Sources) -> None:
        """What is there already is success, and stays as it is."""
        for size in (0, 1, self.part_size + 1):
            source, key = sources(size), f"again/{size}"
            put(store, key, source)
            before = store.stat(key)
            put(store, key, source)
            put(store, key, source, take=True)
            assert store.stat(key) == before, "an object that was put again is another one"
            same(content(store, key), source.data, "an object that was put again")

    def test_a_key_that_is_taken(self, store: ArtifactStore, sources: Sources) -> None:
        """Content of another size is refused, and the object stays as it is."""
        source = sources(1000)
        put(store, "taken", source)
        for size in (0, 999, 1001, self.part_size + 1):
            with refused(store, AlreadyExists, "OBJECT_EXISTS", "put() takes a key again"):
                put(store, "taken", sources(size))
        same(content(store, "taken"), source.data, "an object that was not to be overwritten")

    def test_a_wrong_size(
        self, settings: StoreSettings, store: ArtifactStore, sources: Sources
    ) -> None:
        """A file that is not of the size that was said is refused, and nothing is kept of it."""
        for size in (1, 1000, self.part_size + 1):
            source = sources(size)
            for wrong in (size - 1, size + 1):
                with refused(store, InvalidArgument, "OBJECT_MISMATCH", "put() takes a wrong size"):
                    store.put("wrong", source.path, wrong, source.sha256)
                absent(store, "wrong", "whose size was wrong")
        left = self.leftovers(settings)
        assert not left, f"puts that were refused have left {left}"

    def test_a_wrong_digest(
        self, settings: StoreSettings, store: ArtifactStore, sources: Sources
    ) -> None:
        """A file that is not of the digest that was said is refused, and nothing is kept of it."""
        for size in (0, 1000, self.part_size + 1):
            source, other = sources(size), sources(10)
            with refused(store, InvalidArgument, "OBJECT_MISMATCH", "put() takes a wrong digest"):
                store.put("wrong", source.path, source.size, other.sha256)
            absent(store, "wrong", "whose digest was wrong")
        left = self.leftovers(settings)
        assert not left, f"puts that were refused have left {left}"

    def test_a_source_that_is_not_there(self, store: ArtifactStore, sources: Sources) -> None:
        """It is the caller's mistake and not the store's."""
        source = sources(10)
        source.path.unlink()
        with refused(store, InvalidArgument, "UNREADABLE", "put() takes a file that is not there"):
            put(store, "missing", source)
        absent(store, "missing", "which had no source")

    def test_keys_that_nobody_may_have(self, store: ArtifactStore, sources: Sources) -> None:
        """Every method refuses them: none ever becomes a path."""
        source = sources(10)
        for key in BAD_KEYS:
            calls: dict[str, Callable[[], object]] = {
                "put()": lambda key=key: put(store, key, source),  # type: ignore[misc]
                "get()": lambda key=key: content(store, key),  # type: ignore[misc]
                "stat()": lambda key=key: store.stat(key),  # type: ignore[misc]
                "delete()": lambda key=key: store.delete(key),  # type: ignore[misc]
            }
            for name, call in calls.items():
                with refused(
                    store, InvalidArgument, "OBJECT_KEY_INVALID", f"{name} takes the key {key!r}"
                ):
                    call()

    def test_keys_that_all_stores_take(self, store: ArtifactStore, sources: Sources) -> None:
        """Long, deep and odd ones."""
        source = sources(10)
        for key in ("a" * 200, "/".join("abcdefgh"), "a..b/c-", "-", "0", "objects/ab/a.b.c-d"):
            put(store, key, source)
            same(content(store, key), source.data, f"an object with the key {key!r}")
            listed = [each.key for each in store.list(key)]
            assert listed == [key], f"list({key!r}) shows {listed}"

    def test_one_key_at_the_same_time(self, new_store: NewStore, sources: Sources) -> None:
        """Who puts what somebody else is just putting succeeds; there is one object."""
        one, other = new_store(), new_store()
        for size in (0, 1000, self.part_size + 1):
            source, key = sources(size), f"race/{size}"
            calls = [functools.partial(put, each, key, source) for each in (one, other)]
            self.together(*calls * 4)
            same(content(one, key), source.data, "an object that many have put")
            found = [each for each in other.list() if each.key == key]
            assert len(found) == 1, f"list() shows an object {len(found)} times: {found}"

    def test_many_threads(self, store: ArtifactStore, sources: Sources) -> None:
        """One store serves many threads that do different things."""

        def work(number: int) -> None:
            for n in range(8):
                source, key = sources(1000 * number + n), f"threads/{number}/{n}"
                put(store, key, source, take=bool(n % 2))
                same(content(store, key), source.data, "what another thread did not put")
                if n % 3 == 0:
                    store.delete(key)
                there = store.stat(key) is not None
                assert there == (n % 3 != 0), f"stat() in one of many threads: {there}"

        self.together(*(lambda n=n: work(n) for n in range(8)))
        listed = len(list(store.list("threads/")))
        assert listed == 8 * 5, f"list() shows {listed} of 40 objects after many threads"

    def test_another_store_of_the_same_place(self, new_store: NewStore, sources: Sources) -> None:
        """What one has put, another sees, gets and deletes."""
        one, other = new_store(), new_store()
        source = sources(1000)
        put(one, "shared", source)
        same(content(other, "shared"), source.data, "an object from another store")
        assert other.stat("shared") == one.stat("shared"), "two stores do not agree on an object"
        assert [each.key for each in other.list()] == ["shared"], "list() shows its own only"
        other.delete("shared")
        absent(one, "shared", "which another store has deleted")

    def test_nothing_is_seen_by_halves(self, new_store: NewStore, sources: Sources) -> None:
        """While an object is put, others see none, or all of it."""
        writer, reader = new_store(), new_store()
        source = sources(2 * self.part_size + 1)
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                self._whole(reader, source)

        reading = Begun(read)
        try:
            for n in range(3):
                put(writer, f"half/{n}", source)
        finally:
            done.set()
            reading.result(self.patience, "reading during a put()")
        self._whole(reader, source)

    def _whole(self, store: ArtifactStore, source: Source) -> None:
        for n in range(3):
            found = store.stat(f"half/{n}")
            assert found is None or found.size == source.size, f"stat() saw a half: {found}"
        for each in store.list("half/"):
            assert each.size == source.size, f"list() saw a half: {each}"
            same(content(store, each.key), source.data, "an object that was just put")

    @contextlib.contextmanager
    def _measured(self, what: str) -> Iterator[None]:
        tracemalloc.start()
        try:
            yield
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        text = f"{what} of {self.big} bytes took {peak} bytes of memory, more than {self.memory}"
        assert peak <= self.memory, text
