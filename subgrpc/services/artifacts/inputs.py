"""Artifacts and versions of models as inputs of experiments: what they mean, and their files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from subgrpc import names
from subgrpc.driver import FilePiece, InputFile
from subgrpc.errors import DataLoss, FieldViolation
from subgrpc.metastore import Metastore, artifacts
from subgrpc.names import AliasName, ArtifactName, ModelName, VersionName
from subgrpc.services.artifacts.files import parsed
from subgrpc.services.blobs.storage import Span, Storage
from subgrpc.services.model_changes import LATEST
from subgrpc.v1.artifact_service_pb2 import ARTIFACT_STATE_READY, Artifact, ArtifactFile
from subgrpc.v1.experiment_service_pb2 import ExperimentInput
from subgrpc.v1.model_registry_service_pb2 import ModelVersion
from subgrpc.v1.spec_pb2 import Input
from subgrpc.validation import raise_violations, shown

BATCH = 1000
"""Most files that are handed out at once."""


class InputArtifacts:
    """Finds inputs, for creates, and reads them, for the engine."""

    def __init__(self, store: Metastore, storage: Storage) -> None:
        self._store = store
        self._storage = storage

    async def resolve(self, team: str, inputs: Sequence[Input]) -> list[ExperimentInput]:
        """Says what inputs mean now.

        Raises:
            InvalidArgument: what is not there, or cannot be read; paths start at the spec.
        """
        found, violations = [], []
        for index, each in enumerate(inputs):
            field = "model" if each.model else "artifact"
            try:
                found.append(await self._resolve(team, each))
            except _UnknownInputError as error:
                path = f"inputs[{index}].{field}"
                violations.append(FieldViolation(path, str(error), "INPUT_NOT_FOUND"))
        raise_violations(violations)
        return found

    def content(self, name: str, uid: str) -> StoredContent:
        """The files of an artifact."""
        return StoredContent(self._store, self._storage, names.parse_artifact(name), uid)

    async def _resolve(self, team: str, wanted: Input) -> ExperimentInput:
        version = ""
        name = wanted.artifact.rpartition("/")[2]
        if wanted.artifact.startswith("teams/") and wanted.artifact.split("/")[1] != team:
            text = f"{shown(wanted.artifact)} is another team's; an input must be of {team}"
            raise _UnknownInputError(text)
        if wanted.model:
            found = await self._version(team, wanted.model)
            version, name = found.name, found.artifact.rpartition("/")[2]
        stored = await self._store.artifacts.get(team, name)
        artifact = Artifact() if stored is None else Artifact.FromString(stored.body)
        if artifact.state != ARTIFACT_STATE_READY:
            what = "is not finished" if stored else "does not exist"
            raise _UnknownInputError(f"the artifact {ArtifactName(team, name)} {what}")
        return ExperimentInput(
            input=wanted.name,
            artifact=artifact.name,
            artifact_uid=artifact.uid,
            digest=artifact.digest,
            file_count=artifact.file_count,
            size_bytes=artifact.size_bytes,
            model_version=version,
        )

    async def _version(self, team: str, text: str) -> ModelVersion:
        """The version of a model that MODEL/VERSION or MODEL@ALIAS means."""
        model, at, alias = text.removeprefix("models/").partition("@")
        reads = self._store.models
        if alias == LATEST:
            raw = await reads.latest(ModelName(team, model))
        elif at:
            raw = await reads.version_of_alias(AliasName(team, model, alias))
        else:
            model, _, number = model.partition("/")
            raw = await reads.version(VersionName(team, model, int(number)))
        if raw is None:
            raise _UnknownInputError(f"there is no version {shown(text)} of a model of {team}")
        return ModelVersion.FromString(raw)


class _UnknownInputError(Exception):
    """There is no such thing."""


class _Wanted(NamedTuple):
    """A chunk of a file, as bytes of an object."""

    key: str
    start: int
    length: int
    file: int
    offset: int


class StoredContent:
    """The files of one artifact (`subgrpc.driver.InputContent`)."""

    def __init__(self, store: Metastore, storage: Storage, name: ArtifactName, uid: str) -> None:
        self._store = store
        self._storage = storage
        self._name = name
        self._uid = uid
        self._files: dict[str, ArtifactFile] = {}

    async def files(self) -> AsyncIterator[Sequence[InputFile]]:
        """The files, by path, in batches.

        Raises:
            NotFound: ARTIFACT_NOT_FOUND.
        """
        await self._check()
        number = 0
        while (batch := await self._store.artifacts.files(self._uid, number)) is not None:
            files = list(parsed(batch))
            for start in range(0, len(files), BATCH):
                part = files[start : start + BATCH]
                self._files = {file.path: file for file in part}
                yield [_input_file(file) for file in part]
            number += 1
        await self._check()  # nothing was missing because it was being deleted

    async def read(self, files: Sequence[InputFile]) -> AsyncIterator[FilePiece]:
        """The content of files of the last batch, in the order in which it lies in the store.

        Raises:
            DataLoss: OBJECT_DAMAGED, the store has less than it should.
        """
        for span, wanted in _spans(await self._located(files)):
            position, left = span.start, wanted[::-1]
            async with aclosing(self._storage.read(span)) as pieces:
                async for data in pieces:
                    used = 0
                    while left and used < len(data):
                        it = left[-1]
                        done = position + used - it.start
                        taken = min(len(data) - used, it.length - done)
                        piece = data[used : used + taken]
                        yield FilePiece(file=it.file, offset=it.offset + done, data=piece)
                        used += taken
                        if done + taken == it.length:
                            left.pop()
                    position += len(data)

    async def _located(self, files: Sequence[InputFile]) -> list[_Wanted]:
        chunks = [
            (index, chunk)
            for index, file in enumerate(files)
            for chunk in self._files[file.path].chunks
        ]
        digests = {bytes.fromhex(chunk.digest) for _, chunk in chunks}
        places = await self._store.blobs_of(self._uid, list(digests))
        offsets = dict.fromkeys(range(len(files)), 0)
        found = []
        for index, chunk in chunks:
            place = places.get(bytes.fromhex(chunk.digest))
            if place is None:
                text = f"{self._name} lacks the blob {chunk.digest}"
                raise DataLoss(text, reason="OBJECT_DAMAGED")
            size = chunk.size_bytes
            found.append(_Wanted(place.key, place.start, size, index, offsets[index]))
            offsets[index] += size
        return sorted(found)

    async def _check(self) -> None:
        stored = await self._store.artifacts.get(*self._name)
        if stored is None or Artifact.FromString(stored.body).uid != self._uid:
            raise artifacts.missing(str(self._name))


def _input_file(file: ArtifactFile) -> InputFile:
    return InputFile(
        path=file.path,
        size_bytes=file.size_bytes,
        mode=file.mode,
        sha256=file.sha256,
        link_target=file.link_target,
    )


def _spans(wanted: Sequence[_Wanted]) -> list[tuple[Span, list[_Wanted]]]:
    """Chunks in the order in which they lie in objects; those that touch are read at once."""
    found: list[tuple[Span, list[_Wanted]]] = []
    for each in wanted:
        if found:
            span, members = found[-1]
            if span.key == each.key and span.start + span.length == each.start:
                members.append(each)
                found[-1] = span._replace(length=span.length + each.length), members
                continue
        found.append((Span(each.key, each.start, each.length), [each]))
    return found
