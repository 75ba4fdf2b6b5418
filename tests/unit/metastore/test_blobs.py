"""Blobs are found where they are, kept while something needs them, and only then given up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from subgrpc import names
from subgrpc.errors import Aborted
from subgrpc.metastore import Metastore, Transaction, blobs
from subgrpc.metastore.blobs import MANY, Sealed

pytestmark = pytest.mark.asyncio


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


async def stored(store: Metastore, *contents: str) -> str:
    """An object that holds these blobs."""
    uid = names.new_uid()
    size = sum(map(len, contents))
    await store.write_ordered(lambda tx: blobs.reserve(tx, uid, digest(uid), size))
    sealed = [Sealed(digest(each), index, len(each)) for index, each in enumerate(contents)]
    await store.write_ordered(lambda tx: blobs.publish(tx, uid, sealed))
    return uid


async def collect(store: Metastore) -> list[str]:
    """Condemns and removes all that it may, now."""
    await store.write_ordered(lambda tx: blobs.condemn(tx, tx.now + 1))
    found = await store.write_ordered(lambda tx: blobs.condemned(tx, tx.now + 1_000_000))
    gone = [each.id for each in found]
    await store.write_ordered(lambda tx: blobs.remove(tx, gone))
    return gone


def using(artifact: str, *objects: str) -> Callable[[Transaction], None]:
    return lambda tx: blobs.use(tx, artifact, objects)


async def test_a_blob_is_there_once_its_object_is_published(store: Metastore) -> None:
    """Promise: what is only reserved is missing; what is published is found, with its place."""
    uid = names.new_uid()
    await store.write_ordered(lambda tx: blobs.reserve(tx, uid, digest("whole"), 5))
    assert await store.blobs([digest("whole")]) == {}
    await store.write_ordered(
        lambda tx: blobs.publish(tx, uid, [Sealed(digest("a"), 0, 2), Sealed(digest("b"), 2, 3)])
    )
    found = await store.blobs([digest("b"), digest("c")])
    place = found[digest("b")]
    assert list(found) == [digest("b")]
    assert (place.object_id, place.start, place.size) == (uid, 2, 3)
    assert place.key == f"objects/{digest('whole').hex()[:2]}/{digest('whole').hex()}.{uid}"


async def test_any_number_of_blobs_can_be_asked_for(store: Metastore) -> None:
    """Promise: one, many and more than one statement takes, on either side of a transaction."""
    contents = [f"blob {number}" for number in range(2 * MANY + 1)]
    await stored(store, *contents)
    wanted = [digest(each) for each in contents]
    for count in (0, 1, 2, MANY, MANY + 1, 2 * MANY + 1):
        assert set(await store.blobs(wanted[:count])) == set(wanted[:count])
    inside = await store.write_ordered(lambda tx: blobs.places(tx, wanted))
    assert set(inside) == set(wanted)


async def test_what_an_artifact_uses_is_never_condemned(store: Metastore) -> None:
    """Promise: an object stays while one artifact needs it, and goes after the last let it go."""
    kept, unused = await stored(store, "kept"), await stored(store, "unused")
    await store.write_ordered(using("one", kept))
    await store.write_ordered(using("one", kept))
    await store.write_ordered(using("two", kept))
    assert await collect(store) == [unused]
    await store.write_ordered(lambda tx: blobs.let_go(tx, "one"))
    assert await collect(store) == []
    assert await store.blobs([digest("kept")])
    await store.write_ordered(lambda tx: blobs.let_go(tx, "two"))
    assert await collect(store) == [kept]
    assert await store.blobs([digest("kept")]) == {}


async def test_what_was_condemned_cannot_be_used(store: Metastore) -> None:
    """Promise: a condemned blob is missing, using it fails as a whole, and it can come anew."""
    old, other = await stored(store, "again"), await stored(store, "other")
    await store.write_ordered(using("keeper", other))
    await store.write_ordered(lambda tx: blobs.condemn(tx, tx.now + 1))
    assert await store.blobs([digest("again")]) == {}
    with pytest.raises(Aborted) as refused:
        await store.write_ordered(using("late", old, other))
    assert refused.value.reason == "OBJECT_CONDEMNED"
    new = await stored(store, "again")
    assert (await store.blobs([digest("again")]))[digest("again")].object_id == new
    await store.write_ordered(using("late", new))
    assert await collect(store) == [old]
    assert (await store.blobs([digest("again")]))[digest("again")].object_id == new
    await store.write_ordered(lambda tx: blobs.let_go(tx, "keeper"))
    assert await collect(store) == [other], "the use that failed left nothing behind"


async def test_a_second_copy_does_not_replace_the_first(store: Metastore) -> None:
    """Promise: what artifacts use stays where they found it; the copy is what is removed."""
    first = await stored(store, "same")
    await store.write_ordered(using("one", first))
    second = await stored(store, "same")
    assert (await store.blobs([digest("same")]))[digest("same")].object_id == first
    assert await collect(store) == [second]
    assert (await store.blobs([digest("same")]))[digest("same")].object_id == first


async def test_a_put_that_took_too_long_is_refused(store: Metastore) -> None:
    """Promise: an object that was given up while it was put does not come back to life."""
    uid = names.new_uid()
    await store.write_ordered(lambda tx: blobs.reserve(tx, uid, digest("slow"), 4))
    assert await collect(store) == [uid]
    with pytest.raises(Aborted):
        await store.write_ordered(lambda tx: blobs.publish(tx, uid, [Sealed(digest("slow"), 0, 4)]))
    assert await store.blobs([digest("slow")]) == {}


async def test_what_is_wanted_is_not_condemned_for_a_while(store: Metastore) -> None:
    """Promise: touching puts the collector off; without need it writes nothing."""
    uid = await stored(store, "wanted")
    now = store.clock()
    await store.write_ordered(lambda tx: blobs.touch(tx, [uid], tx.now + 1))
    assert await store.write_ordered(lambda tx: blobs.condemn(tx, now)) == 0
    assert await store.write_ordered(lambda tx: blobs.known(tx, [uid, "another"])) == {uid}
