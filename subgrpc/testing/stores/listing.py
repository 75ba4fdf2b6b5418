"""What is there is listed, and what was deleted is gone."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from subgrpc.artifacts import ArtifactStore
from subgrpc.errors import InvalidArgument
from subgrpc.testing.stores.suite import Sources, Suite, absent, content, put, refused, same

KEYS = ("objects/ab/1", "objects/ab/2", "objects/abc/3", "objects/b/4", "other", "objects.5")
PREFIXES = ("", "o", "objects", "objects/", "objects/a", "objects/ab", "objects/ab/",
            "objects/ab/1", "objects/ab/1/", "objects/zz", "zz", "zz/", "other/")  # fmt: skip


class Listing(Suite):
    """Lists and deletes."""

    def test_lists(self, store: ArtifactStore, sources: Sources) -> None:
        """Every object whose key begins with the prefix is listed once, with its size and time."""
        wanted = {}
        for n, key in enumerate(KEYS):
            put(store, key, sources(n))
            wanted[key] = n
        for prefix in PREFIXES:
            found = [(each.key, each.size) for each in store.list(prefix)]
            fitting = {(key, size) for key, size in wanted.items() if key.startswith(prefix)}
            assert sorted(found) == sorted(fitting), f"list({prefix!r}) is wrong"
        for each in store.list():
            assert each.time.tzinfo is not None, f"a time without a zone: {each}"
            distance = abs(each.time - datetime.now(timezone.utc))
            assert distance < timedelta(days=1), f"an object put just now is of {each.time}"
            assert each == store.stat(each.key), "stat() and list() do not agree"

    def test_prefixes_that_are_none(self, store: ArtifactStore) -> None:
        """What no key can begin with is refused: it never becomes a path."""
        for prefix in ("/", "..", "../", "a//", "a/../", ".a", "A", "a\0", "a*", "a" * 201):
            with refused(
                store, InvalidArgument, "OBJECT_KEY_INVALID", f"list({prefix!r}) succeeds"
            ):
                list(store.list(prefix))

    def test_a_long_list(self, store: ArtifactStore, sources: Sources) -> None:
        """It is complete, however many answers the store needs for it."""
        source = sources(1)
        keys = [f"many/{n % 7}/{n:05}" for n in range(self.many)]

        def write(start: int) -> None:
            for key in keys[start::8]:
                put(store, key, source)

        self.together(*(lambda n=n: write(n) for n in range(8)))
        found = [each.key for each in store.list("many/")]
        assert len(found) == len(set(found)), "list() shows objects twice"
        assert set(found) == set(keys), f"list() shows {len(found)} of {len(keys)} objects"

    def test_deleting_while_listing(self, store: ArtifactStore, sources: Sources) -> None:
        """The list of what is deleted as it comes is complete."""
        source = sources(1)
        keys = {f"many/{n % 3}/{n}" for n in range(40)}
        for key in keys:
            put(store, key, source)
        found = set()
        for each in store.list():
            store.delete(each.key)
            found.add(each.key)
        assert found == keys, f"list() did not show {sorted(keys - found)}"
        assert not list(store.list()), "list() still shows what was deleted"

    def test_deleting(self, store: ArtifactStore, sources: Sources) -> None:
        """What was deleted is gone for every method, and nothing else; it can be put again."""
        source = sources(1000)
        for key in ("deleted/a", "deleted/a.b", "deleted/b/c", "deleted.d"):
            put(store, key, source)
        store.delete("deleted/a")
        absent(store, "deleted/a", "which was deleted")
        kept = sorted(each.key for each in store.list())
        wanted = ["deleted.d", "deleted/a.b", "deleted/b/c"]
        assert kept == wanted, f"after delete('deleted/a') there is {kept}, not {wanted}"
        put(store, "deleted/a", source)
        same(content(store, "deleted/a"), source.data, "an object that was put again")

    def test_deleting_what_is_not_there(self, store: ArtifactStore, sources: Sources) -> None:
        """It is success, and harms nothing below that key."""
        put(store, "folder/object", sources(10))
        for key in ("missing", "missing/missing", "folder/object.1", "folder"):
            store.delete(key)
        put(store, "twice", sources(10))
        store.delete("twice")
        store.delete("twice")
        left = [each.key for each in store.list()]
        assert left == ["folder/object"], f"after the deletes there is {left}"
