"""What versions of models are made of."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from subgrpc.v1 import model_registry_service_pb2 as pb
from subgrpc.v1.artifact_service_pb2 import DeleteArtifactRequest
from subgrpc.v1.artifact_service_pb2_grpc import ArtifactServiceStub

from .registry import (
    DIGITS,
    STORED,
    TEAM,
    listed,
    model,
    register,
    upload,
)
from .seeds import artifact, seed


async def test_versions_are_of_artifacts_that_are_ready(models: Any, refused: Any) -> None:
    """Nothing is left of a registration that was refused, not even a number."""
    failure = await refused(register(models, "nothing"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "ARTIFACT_NOT_FOUND")
    failure = await refused(register(models, "open"))
    assert failure.reason == "ARTIFACT_NOT_READY"
    failure = await refused(model(models))
    assert failure.reason == "MODEL_NOT_FOUND"
    parents = pb.ModelLineage(parent_versions=[f"{DIGITS}/versions/9"])
    assert (await refused(register(models, lineage=parents))).reason == "MODEL_VERSION_NOT_FOUND"
    assert (await refused(register(models, aliases=["latest"]))).reason == "RESERVED_ALIAS"
    for bad in (
        pb.CreateModelVersionRequest(parent=DIGITS),
        pb.CreateModelVersionRequest(
            parent=DIGITS,
            model_version=pb.ModelVersion(artifact=f"{TEAM}/artifacts/a0"),
            source=pb.ModelSource(experiment=f"{TEAM}/experiments/e"),
        ),
    ):
        failure = await refused(models.CreateModelVersion(bad))
        assert list(failure.violations) == ["model_version.artifact"]
    assert (await register(models)).number == 1


async def test_nothing_is_made_for_a_team_that_is_not_there(models: Any, refused: Any) -> None:
    """Nor of what is another team's."""
    version = pb.ModelVersion(artifact="teams/other/artifacts/a0")
    request = pb.CreateModelVersionRequest(
        parent="teams/other/models/digits", model_version=version, create_model=True
    )
    failure = await refused(models.CreateModelVersion(request))
    assert failure.reason == "TEAM_NOT_FOUND"
    request.parent = DIGITS
    failure = await refused(models.CreateModelVersion(request))
    assert list(failure.violations) == ["model_version.artifact"]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ({"output": "m"}, "out-3"),
        ({"output": "m", "attempt": 1}, "out-1"),
        ({"attempt": 1}, "output"),
        ({"output": "l"}, "log"),
        ({}, "output"),
        ({"output": "x"}, ""),
        ({"output": "l", "attempt": 1}, ""),
    ],
)
async def test_an_output_of_an_experiment_becomes_a_version(
    models: Any, refused: Any, source: dict[str, Any], found: str
) -> None:
    """The last one of the last attempt, unless told otherwise; where it comes from is kept."""
    request = pb.CreateModelVersionRequest(parent=DIGITS, create_model=True)
    request.source.CopyFrom(pb.ModelSource(experiment=f"{TEAM}/experiments/e", **source))
    if found in ("", "output"):
        failure = await refused(models.CreateModelVersion(request))
        assert failure.reason == ("INVALID_ARGUMENT" if found else "OUTPUT_NOT_FOUND")
        return
    made = (await models.CreateModelVersion(request)).model_version
    assert made.artifact == f"{TEAM}/artifacts/{found}"
    kept = next(each.source for each in STORED if each.name == made.artifact)
    assert made.lineage == pb.ModelLineage(
        experiment=kept.experiment, experiment_uid="u", attempt=kept.attempt, output=kept.output
    )
    assert await listed(models, f'experiment = "{kept.experiment}"') == ["digits/1"]


async def test_an_artifact_is_kept_while_a_version_has_it(api: Any, refused: Any) -> None:
    """Who wants to delete it is told which; afterwards it goes."""
    made = await upload(api, "weights")
    for _ in range(2):
        await register(api.models, "weights")
    delete = ArtifactServiceStub(api.channel).DeleteArtifact
    request = DeleteArtifactRequest(name=made.name)
    failure = await refused(delete(request))
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "ARTIFACT_IN_USE",
    )
    assert failure.metadata["referrers"] == f"{DIGITS}/versions/1, {DIGITS}/versions/2"
    gone = pb.DeleteModelVersionRequest(name=f"{DIGITS}/versions/1")
    await api.models.DeleteModelVersion(gone)
    assert (await refused(delete(request))).metadata["referrers"] == f"{DIGITS}/versions/2"
    await api.models.DeleteModel(pb.DeleteModelRequest(name=DIGITS, force=True))
    await delete(request)


async def test_no_version_is_left_without_its_artifact(api: Any) -> None:
    """Whichever comes first of a registration and a deletion at the same time."""
    delete = ArtifactServiceStub(api.channel).DeleteArtifact
    outcomes = set()

    async def remove(name: str) -> None:
        await delete(DeleteArtifactRequest(name=name))

    for number in range(30):
        made = await upload(api, f"w{number}")
        calls: list[Any] = [register(api.models, f"w{number}"), remove(made.name)]
        if number % 2:
            calls.reverse()
        done = await asyncio.gather(*calls, return_exceptions=True)
        failed = [each for each in done if isinstance(each, grpc.aio.AioRpcError)]
        assert len(failed) == 1
        outcomes.add(failed[0].code())
    assert outcomes == {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION}


async def test_what_an_experiment_was_given_are_the_parents_of_what_it_made(
    running: Any,
) -> None:
    """Beside those that are named; the same one once."""
    running.backend.hold()
    await seed(running, artifact("w"))
    server = await running.server()
    api = running.api(server)
    base = await register(api.models, "w", aliases=["champion"])
    request = api.request("tuned")
    request.experiment.spec.inputs.add(name="base", model="digits@champion")
    made = (await api.stub.CreateExperiment(request)).experiment
    await running.stop(server)
    output = artifact("tuned-out", attempt=1, output="model")
    output.source.experiment, output.source.experiment_uid = made.name, made.uid
    await seed(running, output)
    api = running.api(await running.server())
    for parents in ([], [base.name]):
        lineage = pb.ModelLineage(parent_versions=parents)
        found = await register(api.models, "tuned-out", lineage=lineage)
        assert found.lineage == pb.ModelLineage(
            experiment=made.name,
            experiment_uid=made.uid,
            attempt=1,
            output="model",
            parent_versions=[base.name],
        )
