"""Artifacts over the wire: made of blobs, listed, changed, verified and deleted."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from subgrpc.v1 import artifact_service_pb2 as pb
from subgrpc.v1.artifact_service_pb2_grpc import ArtifactServiceStub

from .test_blobs import content, digest, requests, upload

TEAM = "teams/default"
EMPTY = hashlib.sha256().hexdigest()


def file(path: str, *chunks: bytes, mode: int = 0) -> pb.ArtifactFile:
    """A file of these chunks."""
    return pb.ArtifactFile(
        path=path,
        size_bytes=sum(map(len, chunks)),
        sha256=digest(b"".join(chunks)),
        chunks=[pb.Chunk(digest=digest(each), size_bytes=len(each)) for each in chunks],
        mode=mode,
    )


def digest_of(*files: pb.ArtifactFile) -> str:
    """`Artifact.digest`, as its comment says it."""
    hasher = hashlib.sha256()
    for each in files:
        if each.link_target:
            target = hashlib.sha256(each.link_target.encode()).hexdigest()
            line = f"{target} 120000 0 {each.path}"
        else:
            line = f"{each.sha256} {each.mode or 0o644:o} {each.size_bytes} {each.path}"
        hasher.update(line.encode() + b"\0")
    return hasher.hexdigest()


class Client:
    """ArtifactService, with shorter words."""

    def __init__(self, api: Any) -> None:
        self.stub = ArtifactServiceStub(api.channel)

    async def create(self, *files: pb.ArtifactFile, **fields: Any) -> pb.Artifact:
        request = pb.CreateArtifactRequest(parent=TEAM, files=files, **fields)
        return (await self.stub.CreateArtifact(request)).artifact

    async def add(self, name: str, offset: int, *files: pb.ArtifactFile) -> pb.Artifact:
        request = pb.AddArtifactFilesRequest(name=name, offset=offset, files=files)
        return (await self.stub.AddArtifactFiles(request)).artifact

    async def finish(self, name: str, expected: str = "") -> pb.Artifact:
        request = pb.FinishArtifactRequest(name=name, digest=expected)
        return (await self.stub.FinishArtifact(request)).artifact

    async def get(self, name: str) -> pb.Artifact:
        return (await self.stub.GetArtifact(pb.GetArtifactRequest(name=name))).artifact

    async def delete(self, name: str, **fields: Any) -> None:
        await self.stub.DeleteArtifact(pb.DeleteArtifactRequest(name=name, **fields))

    async def ids(self, **fields: Any) -> list[str]:
        request = pb.ListArtifactsRequest(parent=TEAM, **fields)
        found = await self.stub.ListArtifacts(request)
        return [each.name.rpartition("/")[2] for each in found.artifacts]

    async def files(self, parent: str, **fields: Any) -> list[pb.ArtifactFile]:
        """All files, page by page."""
        found, token = list[pb.ArtifactFile](), ""
        while True:
            page = await self.stub.ListArtifactFiles(
                pb.ListArtifactFilesRequest(parent=parent, page_token=token, **fields)
            )
            found += page.files
            token = page.next_page_token
            if not token:
                return found

    async def collect(self, **fields: Any) -> pb.CollectArtifactGarbageResponse:
        request = pb.CollectArtifactGarbageRequest(**fields)
        return [each async for each in self.stub.CollectArtifactGarbage(request)][-1]

    async def verify(self, name: str) -> tuple[int, list[str]]:
        """How many files were compared, and which are damaged."""
        damaged = []
        async for each in self.stub.VerifyArtifact(pb.VerifyArtifactRequest(name=name)):
            damaged += [one.path for one in each.damaged]
            last = each
        assert last.done
        return last.file_count, damaged


@pytest.fixture
def client(api: Any) -> Client:
    return Client(api)


async def test_an_artifact_is_made_of_blobs_and_read_back(client: Client) -> None:
    """Promise: what was uploaded is listed, downloaded and verified, with one digest for all."""
    small, one, two = content(10), content(100_000), content(70_000, 1)
    await upload(client.stub, requests(small, one, two))
    link = pb.ArtifactFile(path="latest", link_target="data/large")
    files = [file("data/empty"), file("data/large", one, two, mode=0o755), link, file("z", small)]
    made = await client.create(
        *files, artifact_id="set-1", artifact=pb.Artifact(display_name="Set", labels={"a": "b"})
    )
    assert made.name == f"{TEAM}/artifacts/set-1"
    assert made.state == pb.ARTIFACT_STATE_READY
    assert (made.file_count, made.size_bytes) == (4, 170_010)
    assert made.digest == digest_of(*files)
    assert (made.display_name, dict(made.labels), made.creator) == (
        *("Set", {"a": "b"}, "anonymous"),
    )
    assert await client.get(made.name) == made
    listed = await client.files(made.name)
    assert [each.path for each in listed] == ["data/empty", "data/large", "latest", "z"]
    assert [each.mode for each in listed] == [0o644, 0o755, 0, 0o644]
    assert list(listed[3].chunks) == [pb.Chunk(digest=digest(small), size_bytes=10)]
    request = pb.DownloadArtifactFileRequest(name=made.name, path="data/large")
    read = b"".join([each.data async for each in client.stub.DownloadArtifactFile(request)])
    assert read == one + two
    assert await client.verify(made.name) == (4, [])


async def test_blobs_that_were_not_uploaded_are_named(client: Client, refused: Any) -> None:
    """Promise: an artifact never refers to what is not there."""
    there, gone = content(10), content(11)
    await upload(client.stub, requests(there))
    failure = await refused(client.create(file("a", there), file("b", gone)))
    assert failure.code is grpc.StatusCode.FAILED_PRECONDITION
    assert (failure.reason, failure.metadata["count"]) == ("BLOBS_MISSING", "1")
    assert failure.metadata["digests"] == digest(gone)
    assert await client.ids() == []
    wrong = pb.ArtifactFile(path="a", size_bytes=9, sha256=digest(there))
    assert (await refused(client.create(wrong))).reason == "DIGEST_MISMATCH"


async def test_files_come_in_batches_and_repeats_are_no_mistake(
    client: Client, refused: Any
) -> None:
    """Promise: whatever arrives twice or too late, each file is there once and in order."""
    blob = content(10)
    await upload(client.stub, requests(blob))
    files = [file(f"f{number:04}", blob) for number in range(2_500)]
    made = await client.create(*files[:7], open=True)
    assert (made.state, made.digest) == (pb.ARTIFACT_STATE_OPEN, "")
    added = await client.add(made.name, 7, *files[7:2_010])
    assert added.file_count == 2_010
    assert added.etag != made.etag
    again = await client.add(made.name, 7, *files[7:2_010])
    assert again == added
    for offset, some in ((2_011, files[2_011:]), (8, files[7:9]), (2_000, files[2_000:2_011])):
        failure = await refused(client.add(made.name, offset, *some))
        assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "FILES_OFFSET")
        assert failure.metadata["fileCount"] == "2010"
    late = await refused(client.add(made.name, 2_010, file("f0000x", blob)))
    assert late.violations.keys() == {"files[0].path"}
    await client.add(made.name, 2_010, *files[2_010:])
    assert (await refused(client.finish(made.name, "0" * 64))).reason == "DIGEST_MISMATCH"
    done = await client.finish(made.name, digest_of(*files))
    assert (done.state, done.file_count) == (pb.ARTIFACT_STATE_READY, 2_500)
    assert await client.finish(made.name) == done
    assert await client.add(made.name, 0, *files[:3]) == done
    failure = await refused(client.add(made.name, 2_500, file("g", blob)))
    assert failure.reason == "ARTIFACT_NOT_OPEN"
    assert await client.files(made.name, page_size=700) == files_as_kept(files)


def files_as_kept(files: list[pb.ArtifactFile]) -> list[pb.ArtifactFile]:
    kept = []
    for each in files:
        copy = pb.ArtifactFile()
        copy.CopyFrom(each)
        copy.mode = copy.mode or 0o644
        kept.append(copy)
    return kept


async def test_paths_that_one_file_system_cannot_have_are_refused_late_too(
    client: Client, refused: Any
) -> None:
    """Promise: equal in normal form, in different requests: the artifact cannot be finished."""
    made = await client.create(file("e\u0301"), open=True)
    await client.add(made.name, 1, file("\u00e9"))
    failure = await refused(client.finish(made.name))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.violations.keys() == {"files"}
    failure = await refused(client.create(file("e\u0301"), file("\u00e9")))
    assert failure.violations.keys() == {"files[1].path"}


async def test_every_mistake_is_told_with_its_place(client: Client, refused: Any) -> None:
    """Promise: up to 50 violations, with the fields where they are."""
    bad = [
        pb.ArtifactFile(path="../a", sha256=EMPTY),
        pb.ArtifactFile(path="b", sha256="x"),
        pb.ArtifactFile(path="b/c", sha256=EMPTY),
        pb.ArtifactFile(path="d", sha256=EMPTY, mode=0o4755),
        pb.ArtifactFile(path="e", sha256="1" * 64),
        pb.ArtifactFile(path="f", sha256="1" * 64, size_bytes=(64 << 20) + 1),
        pb.ArtifactFile(path="g", link_target="../../etc"),
        pb.ArtifactFile(path="h", link_target="a", size_bytes=1),
        pb.ArtifactFile(
            path="i",
            sha256="1" * 64,
            size_bytes=3,
            chunks=[pb.Chunk(digest="1" * 64, size_bytes=0), pb.Chunk(digest="z", size_bytes=2)],
        ),
        pb.ArtifactFile(
            path="j",
            sha256="1" * 64,
            size_bytes=5,
            chunks=[pb.Chunk(digest="2" * 64, size_bytes=5)],
        ),
        pb.ArtifactFile(path="k", sha256="2" * 64, size_bytes=6),
    ]
    failure = await refused(client.create(*bad))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.violations.keys() == {
        "files[0].path",
        "files[1].sha256",
        "files[2].path",
        "files[3].mode",
        "files[4].sha256",
        "files[5].size_bytes",
        "files[6].link_target",
        "files[7].link_target",
        "files[8].size_bytes",
        "files[8].chunks[0].size_bytes",
        "files[8].chunks[1].digest",
        "files[9].sha256",
        "files[10].chunks[0].size_bytes",
    }
    many = [pb.ArtifactFile(path="a", sha256=EMPTY)] * 1_000
    failure = await refused(client.create(*many))
    assert len(failure.violations) <= 50
    assert failure.size < 8_192


async def test_a_create_can_be_repeated_by_its_request_id(client: Client, refused: Any) -> None:
    """Promise: the same artifact, also when what it was made of is gone by now."""
    blob = content(10)
    await upload(client.stub, requests(blob))
    made = await client.create(file("a", blob), request_id="r")
    assert await client.create(file("a", blob), request_id="r") == made
    failure = await refused(client.create(request_id="r"))
    assert failure.reason == "REQUEST_ID_REUSED"
    other = await client.create(file("a", blob), artifact_id="other")
    failure = await refused(client.create(artifact_id="other"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "ARTIFACT_EXISTS")
    await client.delete(made.name, request_id="d")
    await client.delete(made.name, request_id="d")
    assert (await refused(client.delete(made.name))).reason == "ARTIFACT_NOT_FOUND"
    await client.delete(made.name, allow_missing=True)
    failure = await refused(client.create(file("a", blob), request_id="r"))
    assert failure.reason == "ARTIFACT_NOT_FOUND"
    assert await client.ids() == [other.name.rpartition("/")[2]]


async def test_names_labels_and_descriptions_change_and_files_do_not(
    client: Client, refused: Any
) -> None:
    """Promise: update_mask and etag, as everywhere."""
    made = await client.create(artifact=pb.Artifact(description="old", labels={"a": "b"}))

    async def update(paths: list[str], **fields: Any) -> pb.Artifact:
        wanted = pb.Artifact(name=made.name, **fields)
        request = pb.UpdateArtifactRequest(artifact=wanted, update_mask=FieldMask(paths=paths))
        return (await client.stub.UpdateArtifact(request)).artifact

    changed = await update(["labels"], labels={"c": "d"}, etag=made.etag)
    assert (dict(changed.labels), changed.description) == ({"c": "d"}, "old")
    assert changed.etag != made.etag
    assert await client.ids(filter="labels.c = d") == [made.name.rpartition("/")[2]]
    assert await client.ids(filter="labels.a = b") == []
    failure = await refused(update(["labels"], etag=made.etag))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    everything = await update([], display_name="New")
    assert (everything.display_name, everything.description, everything.labels) == ("New", "", {})
    assert (await refused(update(["digest"]))).violations.keys() == {"update_mask"}
    assert (await refused(client.delete(made.name, etag=made.etag))).reason == "ETAG_MISMATCH"
    await client.delete(made.name, etag=everything.etag)


async def test_an_open_artifact_stays_open_when_its_labels_change(client: Client) -> None:
    """Promise: its list of files goes on where it was."""
    made = await client.create(file("a"), open=True)
    wanted = pb.Artifact(name=made.name, labels={"a": "b"})
    await client.stub.UpdateArtifact(pb.UpdateArtifactRequest(artifact=wanted))
    await client.add(made.name, 1, file("b"))
    assert (await client.finish(made.name)).digest == digest_of(file("a"), file("b"))


async def test_lists_are_paged_ordered_and_filtered(client: Client, refused: Any) -> None:
    """Promise: newest first; tokens are good for their own list only."""
    for name in ("one", "two", "three"):
        await client.create(artifact_id=name, artifact=pb.Artifact(labels={"of": name[:1]}))
    await client.create(artifact_id="open", open=True)
    assert await client.ids() == ["open", "three", "two", "one"]
    assert await client.ids(order_by="artifact_id", filter="state = READY") == [
        *("one", "three", "two")
    ]
    assert await client.ids(filter="labels.of = t") == ["three", "two"]
    first = await client.stub.ListArtifacts(pb.ListArtifactsRequest(parent=TEAM, page_size=3))
    assert len(first.artifacts) == 3
    token = first.next_page_token
    assert await client.ids(page_size=3, page_token=token) == ["one"]
    wrong = {"page_token": token, "filter": "state = OPEN"}
    assert (await refused(client.ids(**wrong))).reason == "PAGE_TOKEN_INVALID"
    assert (await refused(client.ids(order_by="digest"))).violations.keys() == {"order_by"}
    assert (await refused(client.ids(filter="cluster = a"))).violations.keys() == {"filter"}


async def test_files_are_listed_by_prefix_and_in_pages_of_any_size(client: Client) -> None:
    """Promise: every file once, whatever the size of pages and batches."""
    paths = [f"{folder}/{number:04}" for folder in ("a", "b", "b-c", "d") for number in range(600)]
    files = [file(each) for each in sorted(paths)]
    made = await client.create(*files)
    for size in (1, 7, 600, 999, 1_000, 1_001, 10_000):
        if size > 1:
            listed = await client.files(made.name, page_size=size)
            assert [each.path for each in listed] == sorted(paths), size
    for prefix, count in (("b/", 600), ("b", 1_200), ("b-c/05", 100), ("a/0599", 1), ("c", 0)):
        for size in (13, 0):
            listed = await client.files(made.name, path_prefix=prefix, page_size=size)
            expected = [each for each in sorted(paths) if each.startswith(prefix)]
            assert [each.path for each in listed] == expected, (prefix, size)
            assert len(expected) == count


async def test_garbage_is_collected_and_nothing_else(client: Client, refused: Any) -> None:
    """Promise: what an artifact has stays; what none has goes, after it was counted."""
    kept, lost = content(3_000_000), content(2_000_000)
    await upload(client.stub, requests(kept, lost))
    made = await client.create(file("a", kept))
    none = Duration()
    counted = await client.collect(grace=none, validate_only=True)
    assert (counted.condemned_count, counted.removed_count, counted.done) == (1, 0, True)
    done = await client.collect(grace=none)
    assert (done.condemned_count, done.removed_count, done.removed_bytes) == (1, 1, 2_000_000)
    assert await client.verify(made.name) == (1, [])
    assert (await refused(client.create(file("b", lost)))).reason == "BLOBS_MISSING"
    await upload(client.stub, requests(lost))
    await client.create(file("b", lost))
    await client.delete(made.name)
    done = await client.collect(grace=none)
    assert (done.removed_count, done.removed_bytes) == (1, 3_000_000)
    unhurried = await client.collect()
    assert (unhurried.condemned_count, unhurried.removed_count) == (0, 0)


def damage(store: Path, changed: str, cut: str, gone: str) -> None:
    """Does to objects what disks do."""
    by_digest = {each.name.partition(".")[0]: each for each in store.rglob("*") if each.is_file()}
    data = bytearray(by_digest[changed].read_bytes())
    data[1_000_000] ^= 1
    for name, damaged in ((changed, data), (cut, by_digest[cut].read_bytes()[:-1])):
        by_digest[name].chmod(0o600)
        by_digest[name].write_bytes(damaged)
    by_digest[gone].unlink()


async def test_damage_is_found_file_by_file(client: Client, running: Any) -> None:
    """Promise: a changed byte, a cut object and one that is gone; the other files are fine."""
    blobs = [content(2_000_000, number) for number in range(4)]
    await upload(client.stub, requests(*blobs))
    files = [file("a", blobs[0]), file("b", blobs[1], blobs[0]), *map(file, "cd", blobs[2:])]
    made = await client.create(*files)
    damage(running.data_dir / "artifacts" / "store", *map(digest, blobs[1:]))
    assert await client.verify(made.name) == (4, ["b", "c", "d"])


async def test_many_files_at_once_leave_other_calls_their_turn(client: Client) -> None:
    """Promise: while lists of 10,000 files are checked and stored, other calls are answered."""
    blob = content(10)
    await upload(client.stub, requests(blob))
    files = [file(f"{number:05}", blob) for number in range(10_000)]
    making = [asyncio.ensure_future(client.create(*files)) for _ in range(3)]
    answered = 0
    while not all(each.done() for each in making):
        await client.ids(page_size=1)
        answered += 1
    assert answered > 5
    assert {each.result().digest for each in making} == {digest_of(*files)}
