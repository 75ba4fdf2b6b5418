"""Inputs of experiments: what a name means is settled, kept, and told."""

from __future__ import annotations

import contextlib
from typing import Any

import grpc
import pytest

from subgrpc.v1 import artifact_service_pb2 as pb
from subgrpc.v1 import experiment_service_pb2 as experiments
from subgrpc.v1 import model_registry_service_pb2 as models
from subgrpc.v1.artifact_service_pb2_grpc import ArtifactServiceStub

from .test_artifacts import file
from .test_blobs import requests, upload

TEAM = "teams/default"


@pytest.fixture
def artifacts(api: Any) -> Any:
    return ArtifactServiceStub(api.channel)


async def make(artifacts: Any, name: str, content: bytes) -> pb.Artifact:
    """An artifact of one file."""
    await upload(artifacts, requests(content))
    request = pb.CreateArtifactRequest(parent=TEAM, artifact_id=name, files=[file("f", content)])
    return (await artifacts.CreateArtifact(request)).artifact


async def create(api: Any, **wanted: str) -> experiments.Experiment:
    request = api.request()
    request.experiment.spec.inputs.add(name="data", **wanted)
    return (await api.stub.CreateExperiment(request)).experiment


async def register(api: Any, artifact: str, alias: str = "") -> models.ModelVersion:
    with contextlib.suppress(grpc.aio.AioRpcError):  # it is there
        await api.models.CreateModel(models.CreateModelRequest(parent=TEAM, model_id="digits"))
    request = models.CreateModelVersionRequest(parent=f"{TEAM}/models/digits")
    request.model_version.artifact = artifact
    made = (await api.models.CreateModelVersion(request)).model_version
    if alias:
        name = f"{TEAM}/models/digits/aliases/{alias}"
        await api.models.SetModelAlias(models.SetModelAliasRequest(name=name, number=made.number))
    return made


async def test_an_artifact(api: Any, artifacts: Any, backend: Any) -> None:
    """By its short or full name; the backend gets its files."""
    made = await make(artifacts, "digits", b"0123")
    for name in ("digits", f"{TEAM}/artifacts/digits"):
        experiment = await create(api, artifact=name)
        [found] = experiment.inputs
        assert (found.artifact, found.artifact_uid, found.digest) == (
            made.name, made.uid, made.digest,
        )  # fmt: skip
        assert (found.file_count, found.size_bytes, found.model_version) == (1, 4, "")
        run = await backend.run(experiment.uid)
        assert backend.backend.inputs[run.workload.inputs[0].digest] == {"f": b"0123"}


async def test_large_and_many_files(api: Any, artifacts: Any, backend: Any) -> None:
    """Of several chunks, empty, and with the same content."""
    chunks = [b"a" * 70_000, b"b" * 2_000_000, b"a" * 70_000]
    await upload(artifacts, [each for blob in (*chunks, b"same") for each in requests(blob)])
    files = [file("big", *chunks), file("empty"), file("s1", b"same"), file("s2", b"same")]
    request = pb.CreateArtifactRequest(parent=TEAM, artifact_id="many", files=files)
    await artifacts.CreateArtifact(request)
    experiment = await create(api, artifact="many")
    await backend.run(experiment.uid)
    [found] = backend.backend.inputs.values()
    assert found == {"big": b"".join(chunks), "empty": b"", "s1": b"same", "s2": b"same"}


async def test_a_version_and_an_alias(api: Any, artifacts: Any) -> None:
    """An alias means what it meant at the create, whoever points it elsewhere since."""
    first = await make(artifacts, "one", b"1")
    second = await make(artifacts, "two", b"2")
    await register(api, first.name, "champion")
    experiment = await create(api, model="digits@champion")
    version = await register(api, second.name, "champion")
    assert experiment.inputs[0].artifact == first.name
    assert experiment.inputs[0].model_version == f"{TEAM}/models/digits/versions/1"
    again = await api.get(experiment.name)
    assert again.inputs == experiment.inputs
    for text in ("digits/2", "models/digits/2", "digits@champion", "digits@latest"):
        found = (await create(api, model=text)).inputs[0]
        assert (found.artifact, found.model_version) == (second.name, version.name)


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({"artifact": "nope"}, "does not exist"),
        ({"artifact": "teams/other/artifacts/x"}, "another team's"),
        ({"model": "nope/1"}, "no version"),
        ({"model": "nope@champion"}, "no version"),
        ({"model": "nope"}, "MODEL/VERSION or MODEL@ALIAS"),
        ({"artifact": "a", "model": "b/1"}, "exclude each other"),
        ({}, "give either"),
    ],
)
async def test_what_is_not_there(api: Any, refused: Any, wanted: dict[str, str], text: str) -> None:
    """It is said with its place, and nothing is created."""
    failure = await refused(create(api, **wanted))
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    [(field, told)] = failure.violations.items()
    assert field.startswith("experiment.spec.inputs[0]")
    assert text in told


async def test_an_artifact_that_is_open(api: Any, artifacts: Any, refused: Any) -> None:
    """Its files may still become others."""
    request = pb.CreateArtifactRequest(parent=TEAM, artifact_id="open", open=True)
    await artifacts.CreateArtifact(request)
    failure = await refused(create(api, artifact="open"))
    assert "not finished" in failure.message


async def test_an_input_cannot_be_deleted(
    api: Any, artifacts: Any, backend: Any, finish: Any, refused: Any
) -> None:
    """While an experiment needs it, which is named; afterwards it can."""
    made = await make(artifacts, "digits", b"0123")
    experiment = await create(api, artifact="digits")
    deletion = pb.DeleteArtifactRequest(name=made.name)
    failure = await refused(artifacts.DeleteArtifact(deletion))
    assert failure.reason == "ARTIFACT_IN_USE"
    assert experiment.name in failure.message
    await finish(experiment.uid)
    await api.until_state(experiment.name, "SUCCEEDED")
    await artifacts.DeleteArtifact(deletion)
    assert (await api.get(experiment.name)).inputs[0].artifact == made.name


async def test_a_deleted_experiment_needs_nothing(api: Any, artifacts: Any, backend: Any) -> None:
    """Nor does one that was cancelled."""
    made = await make(artifacts, "digits", b"0123")
    backend.backend.obedient = True
    gone = await create(api, artifact="digits")
    cancelled = await create(api, artifact="digits")
    delete = experiments.DeleteExperimentRequest(name=gone.name, force=True)
    await api.stub.DeleteExperiment(delete)
    await api.until_gone(gone.name)
    await api.stub.CancelExperiment(experiments.CancelExperimentRequest(name=cancelled.name))
    await api.until_state(cancelled.name, "CANCELLED")
    await artifacts.DeleteArtifact(pb.DeleteArtifactRequest(name=made.name))


async def test_only_checked(api: Any, artifacts: Any) -> None:
    """`validate_only` shows what it would be, and keeps nothing from being deleted."""
    made = await make(artifacts, "digits", b"0123")
    request = api.request(validate_only=True)
    request.experiment.spec.inputs.add(name="data", artifact="digits")
    answer = await api.stub.CreateExperiment(request)
    assert answer.experiment.inputs[0].artifact_uid == made.uid
    await artifacts.DeleteArtifact(pb.DeleteArtifactRequest(name=made.name))
