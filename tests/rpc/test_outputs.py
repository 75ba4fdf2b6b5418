"""Outputs of experiments as artifacts, through a real server and its real store."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from subgrpc.driver import FilePiece, OutputFile, TaskKey
from subgrpc.errors import AlreadyExists, InvalidArgument
from subgrpc.metastore import Metastore
from subgrpc.rpc.artifacts import open_storage
from subgrpc.services.artifacts.outputs import OutputArtifacts
from subgrpc.testing.fake_outputs import take
from subgrpc.v1 import artifact_service_pb2 as pb
from subgrpc.v1 import model_registry_service_pb2 as models
from subgrpc.v1.artifact_service_pb2_grpc import ArtifactServiceStub

TEAM = "teams/default"
NAME = f"{TEAM}/artifacts/model-1"
MAIN = TaskKey("main", 0)
SOURCE = pb.ArtifactSource(experiment=f"{TEAM}/experiments/x", experiment_uid="u", output="model")
MIB = 1 << 20


async def run(api: Any, backend: Any, files: dict[str, bytes], **more: Any) -> Any:
    """An experiment whose output has these files, at its end."""
    request = api.request()
    request.experiment.spec.outputs.add(name="model", **more)
    made = (await api.stub.CreateExperiment(request)).experiment
    await backend.observe(made.uid, "RUNNING")
    take((await backend.run(made.uid)).taken, MAIN, "model", files)
    await backend.observe(made.uid, "SUCCEEDED")
    return made


async def content_of(stub: Any, name: str) -> dict[str, bytes]:
    """The files of an artifact, by path, as they are downloaded."""
    listed = await stub.ListArtifactFiles(pb.ListArtifactFilesRequest(parent=name))
    found = {}
    for file in listed.files:
        request = pb.DownloadArtifactFileRequest(name=name, path=file.path)
        pieces = [answer.data async for answer in stub.DownloadArtifactFile(request)]
        found[file.path] = b"".join(pieces)
        assert hashlib.sha256(found[file.path]).hexdigest() == file.sha256
    return found


async def test_an_output_is_an_artifact(api: Any, backend: Any) -> None:
    """Of small, empty and large files; found by the experiment; with labels and a creator."""
    noise = random.Random(3).randbytes
    files = {"a": b"1", "d/empty": b"", "d/large": noise(21 * MIB + 5), "z": noise(2 * MIB)}
    made = await run(api, backend, files, labels={"k": "v"})
    ended = await api.until_state(made.name, "SUCCEEDED", 30)
    [output] = ended.outputs
    stub = ArtifactServiceStub(api.channel)
    request = pb.ListArtifactsRequest(parent=TEAM, filter=f'experiment = "{made.name}"')
    [artifact] = (await stub.ListArtifacts(request)).artifacts
    assert artifact.name == output.artifact
    assert (artifact.file_count, artifact.size_bytes) == (4, sum(map(len, files.values())))
    assert dict(artifact.labels) == {"k": "v"}
    assert artifact.creator == ended.creator
    assert (artifact.source.experiment, artifact.source.task) == (made.name, "main-0")
    assert await content_of(stub, artifact.name) == files


async def test_an_output_becomes_a_version(api: Any, backend: Any) -> None:
    """Of the model that the spec names, with where it is from; the next run's is the next."""
    for number in (1, 2):
        made = await run(api, backend, {"a": b"%d" % number}, model="digits")
        ended = await api.until_state(made.name, "SUCCEEDED", 30)
        [output] = ended.outputs
        assert output.model_version == f"{TEAM}/models/digits/versions/{number}"
        request = models.GetModelVersionRequest(name=output.model_version)
        version = (await api.models.GetModelVersion(request)).model_version
        assert (version.artifact, version.creator) == (output.artifact, ended.creator)
        assert (version.lineage.experiment, version.lineage.output) == (made.name, "model")


async def test_an_output_is_registered_once(keeper: OutputArtifacts) -> None:
    """However often it is asked for; as a version of another model it is another."""
    made = await store(keeper, Content({"a": b"1"}))
    names = [f"{TEAM}/models/{model}" for model in ("one", "one", "two", "one")]
    versions = [await keeper.register(name, made.name, "ada") for name in names]
    assert versions == [f"{name}/versions/1" for name in names]


async def test_the_same_files_again_are_kept_once(api: Any, backend: Any, tmp_path: Path) -> None:
    """Two experiments with one model: two artifacts, its bytes once."""
    files = {"model": random.Random(5).randbytes(3 * MIB)}
    for _ in range(2):
        made = await run(api, backend, files)
        await api.until_state(made.name, "SUCCEEDED", 30)
    store = tmp_path / "data" / "artifacts" / "store"
    kept = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    assert kept < 4 * MIB


async def test_a_store_that_is_away(api: Any, backend: Any, tmp_path: Path) -> None:
    """The experiment waits and says why; when the store is back it ends well."""
    store = tmp_path / "data" / "artifacts" / "store"
    store.rename(store.with_name("gone"))
    store.write_text("no folder")
    made = await run(api, backend, {"a": b"1" * MIB})
    for _ in range(1000):
        now = await api.get(made.name)
        if now.reason == "UploadingOutputs" and "tried again" in now.message:
            break
        await asyncio.sleep(0.02)
    else:
        raise AssertionError(now)
    store.unlink()
    store.with_name("gone").rename(store)
    await api.until_state(made.name, "SUCCEEDED", 30)


class Content:
    """What was taken, said to have these sizes."""

    def __init__(self, files: dict[str, bytes], sizes: dict[str, int] | None = None) -> None:
        self._files = files
        self._sizes = sizes or {path: len(data) for path, data in files.items()}
        self.read_paths: list[str] = []

    async def files(self) -> AsyncIterator[list[OutputFile]]:
        yield [OutputFile(path=path, size_bytes=size) for path, size in self._sizes.items()]

    async def read(self, paths: Any) -> AsyncIterator[FilePiece]:
        self.read_paths += paths
        for number, path in enumerate(paths):
            data = self._files[path]
            for start in range(0, len(data), MIB):
                yield FilePiece(file=number, offset=start, data=data[start : start + MIB])


@pytest.fixture
async def keeper(running: Any) -> AsyncIterator[OutputArtifacts]:
    """What a server gives its engine."""
    config = running.config()
    config.data_dir.mkdir()
    store = await Metastore.open(config.data_dir, database=config.database)
    from subgrpc.plugins import PluginManager

    storage = open_storage(config, store, PluginManager())
    yield OutputArtifacts(store, storage)
    await storage.close()
    await store.close()


async def store(keeper: OutputArtifacts, content: Content, **more: Any) -> pb.Artifact:
    fields = {"source": SOURCE, "creator": "ada", "display_name": "", "labels": {}, **more}
    return await keeper.store(NAME, content, **fields)


async def test_a_repeat_reads_nothing(keeper: OutputArtifacts) -> None:
    """It finds what was made; from another source the name is taken."""
    first = await store(keeper, Content({"a": b"1"}))
    again = Content({"a": b"1"})
    assert await store(keeper, again) == first
    assert again.read_paths == []
    with pytest.raises(AlreadyExists):
        await store(keeper, Content({"a": b"1"}), source=pb.ArtifactSource(output="other"))


@pytest.mark.parametrize("size", [0, 1, 3])
async def test_content_that_is_not_what_it_was(keeper: OutputArtifacts, size: int) -> None:
    """A file of another size is refused, for good; then the right one can be stored."""
    with pytest.raises(InvalidArgument) as caught:
        await store(keeper, Content({"a": b"12", "b": b"x"}, {"a": size, "b": 1}))
    assert caught.value.reason == "OUTPUT_CHANGED"
    made = await store(keeper, Content({"a": b"12", "b": b"x"}))
    assert made.file_count == 2


async def test_broken_off_in_the_middle(keeper: OutputArtifacts) -> None:
    """A server that died half-way has left half an artifact: the next one makes it whole."""

    class Breaks(Content):
        async def files(self) -> AsyncIterator[list[OutputFile]]:
            yield [OutputFile(path="a", size_bytes=1)]
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await store(keeper, Breaks({"a": b"1"}))
    made = await store(keeper, Content({"a": b"1", "b": b"2"}))
    assert (made.file_count, made.state) == (2, pb.ARTIFACT_STATE_READY)


async def test_many_files(keeper: OutputArtifacts) -> None:
    """More than are added at once."""
    files = {f"{number:05}": b"%d" % number for number in range(2500)}
    made = await store(keeper, Content(files))
    assert made.file_count == 2500


async def test_a_checkpoint_that_is_needed_stays(keeper: OutputArtifacts) -> None:
    """Others are removed; what an experiment did not make is left alone."""
    await store(keeper, Content({"a": b"1"}))
    await keeper.remove(NAME)
    await keeper.remove(NAME)
    assert (await store(keeper, Content({"b": b"1"}))).size_bytes == 1
