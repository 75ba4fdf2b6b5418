"""Artifacts are made of blobs that are there, by requests and by the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subgrpc.errors import Aborted, AlreadyExists, FailedPrecondition, NotFound
from subgrpc.metastore import FileBatch, artifacts, blobs
from subgrpc.services.artifacts.changes import Wanted
from subgrpc.services.artifacts.files import BATCH_BYTES, BATCH_FILES, batches, check, parsed
from subgrpc.services.artifacts.paths import Tail
from subgrpc.v1.artifact_service_pb2 import (
    ARTIFACT_STATE_OPEN,
    ARTIFACT_STATE_READY,
    ArtifactFile,
    ArtifactSource,
    Chunk,
)

from .conftest import Parts, content, digest, file

SOURCE = ArtifactSource(experiment="teams/default/experiments/e", attempt=1, output="model")


async def in_batches(*given: Sequence[ArtifactFile]) -> AsyncIterator[Sequence[ArtifactFile]]:
    for each in given:
        yield each


async def paths(parts: Parts, uid: str) -> list[str]:
    found = [each async for each in parts.metastore.artifacts.batches(uid)]
    return [each.path for batch in found for each in parsed(batch)]


def wanted(source: ArtifactSource | None = SOURCE) -> Wanted:
    return Wanted("default", "ann", "out", source=source)


async def test_the_engine_makes_artifacts_batch_by_batch(parts: Parts) -> None:
    """Promise: READY with its source; a repeat returns the same one."""
    one, two = content(10), content(40_000)
    await parts.upload([one, two])
    files = [[file("a", one)], [], [file("b/c", two), file("b/d", one, two)]]
    made = await parts.making.create_from(wanted(), in_batches(*files))
    assert (made.state, made.file_count, made.source) == (ARTIFACT_STATE_READY, 3, SOURCE)
    assert await paths(parts, made.uid) == ["a", "b/c", "b/d"]
    assert await parts.making.create_from(wanted(), in_batches(*files)) == made
    assert await parts.damaged(made) == []


async def test_what_the_engine_has_left_half_made_is_begun_anew(parts: Parts) -> None:
    """Promise: a crash between two batches leaves nothing of the first attempt."""
    one = content(10)
    await parts.upload([one])

    async def breaks() -> AsyncIterator[Sequence[ArtifactFile]]:
        yield [file("old", one)]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await parts.making.create_from(wanted(), breaks())
    made = await parts.making.create_from(wanted(), in_batches([file("new", one)]))
    assert await paths(parts, made.uid) == ["new"]


async def test_an_artifact_from_elsewhere_is_not_taken_for_the_engines(parts: Parts) -> None:
    """Promise: neither one of a client nor one of another attempt."""
    await parts.create([file("x")], "out")
    for source in (SOURCE, None):
        with pytest.raises(AlreadyExists) as caught:
            await parts.making.create_from(wanted(source), in_batches([]))
        assert caught.value.reason == "ARTIFACT_EXISTS"


async def test_what_was_given_up_after_it_was_found_is_missing(parts: Parts) -> None:
    """Promise: BLOBS_MISSING, and nothing is left of the attempt."""
    one = content(10)
    await parts.upload([one])
    await parts.metastore.write_ordered(lambda tx: blobs.condemn(tx, tx.now + 1))
    with pytest.raises(FailedPrecondition) as caught:
        await parts.create([file("a", one)], "x")
    assert caught.value.reason == "BLOBS_MISSING"
    assert await parts.metastore.artifacts.get("default", "x") is None
    await parts.upload([one])
    assert await parts.damaged(await parts.create([file("a", one)], "x")) == []


async def test_of_two_who_fill_one_artifact_one_is_told(parts: Parts) -> None:
    """Promise: FILES_OFFSET, or success if both added the same."""
    opened = await parts.create([], "x", ready=False)
    one, other = [file("a")], [file("b")]
    add = parts.making.add
    results = await asyncio.gather(
        add(opened.name, 0, one), add(opened.name, 0, other), return_exceptions=True
    )
    [refused] = [each for each in results if isinstance(each, Aborted)]
    assert refused.reason == "FILES_OFFSET"
    assert len(await paths(parts, opened.uid)) == 1


async def test_files_are_not_added_to_an_artifact_that_took_the_place_of_another(
    parts: Parts,
) -> None:
    """Promise: what is deleted meanwhile is not found; nothing goes into another of its name."""
    opened = await parts.create([], "x", ready=False)
    await parts.delete(opened)
    with pytest.raises(NotFound):
        await parts.making.add(opened.name, 0, [file("a")])
    with pytest.raises(NotFound):
        await parts.making.finish(opened.name, "")


async def test_a_finished_artifact_is_what_one_that_was_made_at_once_is(parts: Parts) -> None:
    """Promise: the same digest, size and files, whatever the batches."""
    blob = content(10)
    await parts.upload([blob])
    files = [file(f"{number:04}", blob) for number in range(2_300)]
    whole = await parts.create(files)
    opened = await parts.create([], ready=False)
    assert opened.state == ARTIFACT_STATE_OPEN
    for begin in range(0, len(files), 333):
        opened = await parts.making.add(opened.name, begin, files[begin : begin + 333])
    done = await parts.making.finish(opened.name, whole.digest)
    assert (done.file_count, done.size_bytes) == (whole.file_count, whole.size_bytes)
    assert await paths(parts, done.uid) == await paths(parts, whole.uid)
    assert await parts.metastore.artifacts.file_counts(done.uid) == [1_000, 1_000, 300]


async def test_an_artifact_is_kept_open_while_files_come(parts: Parts) -> None:
    """Promise: a day after the last ones it goes, and not before."""
    opened = await parts.create([], "x", ready=False)
    day = timedelta(days=1) // timedelta(microseconds=1)
    metastore = parts.metastore
    found = await metastore.write_ordered(lambda tx: artifacts.idle(tx, tx.now - day, 9))
    assert found == []
    found = await metastore.write_ordered(lambda tx: artifacts.idle(tx, tx.now + day, 9))
    assert [each.uid for each in found] == [opened.uid]


PORTIONS = st.lists(st.integers(0, 1_500), max_size=4)


@pytest.mark.thorough
@given(PORTIONS, st.sampled_from([0, 3, 5_000]))
def test_files_are_cut_into_batches_that_are_neither_many_nor_large(
    portions: list[int], chunks: int
) -> None:
    """Promise: whatever the requests, batches are full, and hold the same files in order."""
    kept: dict[int, FileBatch] = {}
    tail, number = Tail(), 0
    for count in portions:
        count = min(count, 5) if chunks > 100 else count
        files = [large(number + index, chunks) for index in range(count)]
        number += count
        checked = check(files, tail)
        last = kept[max(kept)] if kept else None
        kept.update((each.number, each) for each in batches(checked.files, last))
    found = [file for index in range(len(kept)) for file in parsed(kept[index])]
    assert [each.path for each in found] == [f"{index:06}" for index in range(number)]
    for index, batch in kept.items():
        assert batch.file_count == len(parsed(batch))
        assert batch.first_path == parsed(batch)[0].path
        assert batch.file_count <= BATCH_FILES
        assert len(batch.body) <= BATCH_BYTES or batch.file_count == 1
        if index + 1 < len(kept):
            following = parsed(kept[index + 1])[0]
            fits = len(batch.body) + following.ByteSize() + 4 <= BATCH_BYTES
            assert batch.file_count == BATCH_FILES or not fits


CHUNKS = [Chunk(digest=digest(b"%d" % each), size_bytes=7) for each in range(2)]


def large(number: int, chunks: int) -> ArtifactFile:
    """A file with so many chunks."""
    made = ArtifactFile(path=f"{number:06}", sha256=digest(b""))
    if chunks:
        made.sha256, made.size_bytes = "1" * 64, 7 * chunks
        made.chunks.extend(CHUNKS[index % 2] for index in range(chunks))
    return made
