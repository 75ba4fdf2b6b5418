"""The model registry with what its tests say often."""

from __future__ import annotations

from typing import Any

from subgrpc.v1 import model_registry_service_pb2 as pb
from subgrpc.v1.artifact_service_pb2 import CreateArtifactRequest
from subgrpc.v1.artifact_service_pb2_grpc import ArtifactServiceStub

from .seeds import TEAM, artifact

DIGITS = f"{TEAM}/models/digits"


STORED = (
    *(artifact(f"a{number}") for number in range(4)),
    artifact("open", ready=False),
    artifact("out-1", attempt=1, output="m"),
    artifact("out-2", attempt=2, output="m", sequence=1),
    artifact("out-3", attempt=2, output="m", sequence=2),
    artifact("log", attempt=2, output="l"),
)


async def create(models: Any, model_id: str = "digits", **fields: Any) -> pb.Model:
    request = pb.CreateModelRequest(parent=TEAM, model_id=model_id, model=pb.Model(**fields))
    return (await models.CreateModel(request)).model


async def register(models: Any, artifact_id: str = "a0", **fields: Any) -> pb.ModelVersion:
    """Registers a version of `digits`, which is made if it is not there."""
    extra = {key: fields.pop(key) for key in ("aliases", "request_id", "message") if key in fields}
    version = pb.ModelVersion(artifact=f"{TEAM}/artifacts/{artifact_id}", **fields)
    request = pb.CreateModelVersionRequest(
        parent=DIGITS, model_version=version, create_model=True, **extra
    )
    return (await models.CreateModelVersion(request)).model_version


async def model(models: Any, name: str = DIGITS) -> pb.Model:
    return (await models.GetModel(pb.GetModelRequest(name=name))).model


async def version(models: Any, what: str) -> pb.ModelVersion:
    request = pb.GetModelVersionRequest(name=f"{DIGITS}/{what}")
    return (await models.GetModelVersion(request)).model_version


async def point(models: Any, alias: str, number: int, **extra: Any) -> pb.ModelAlias:
    request = pb.SetModelAliasRequest(name=f"{DIGITS}/aliases/{alias}", number=number, **extra)
    return (await models.SetModelAlias(request)).model_alias


async def roll_back(models: Any, alias: str, **extra: Any) -> pb.ModelAlias:
    request = pb.RollbackModelAliasRequest(name=f"{DIGITS}/aliases/{alias}", **extra)
    return (await models.RollbackModelAlias(request)).model_alias


async def stage(models: Any, number: int, to: str, **extra: Any) -> pb.ModelVersion:
    request = pb.SetModelVersionStageRequest(name=f"{DIGITS}/versions/{number}", stage=to, **extra)
    return (await models.SetModelVersionStage(request)).model_version


async def history(models: Any, **extra: Any) -> list[pb.ModelEvent]:
    request = pb.ListModelHistoryRequest(parent=DIGITS, page_size=1000, **extra)
    return list((await models.ListModelHistory(request)).events)


def words(events: list[pb.ModelEvent]) -> list[str]:
    """Entries in short: type, subject, from, to."""
    return [
        " ".join(
            part
            for part in (
                each.type,
                f"v{each.version}" if each.version else "",
                each.alias and f"@{each.alias}",
                each.tag and f"#{each.tag}",
                f"{each.from_value or '-'}>{each.to_value or '-'}",
            )
            if part
        )
        for each in events
    ]


async def listed(models: Any, text: str = "", parent: str = DIGITS, **extra: Any) -> list[str]:
    """The versions that a list gives, MODEL/NUMBER."""
    request = pb.ListModelVersionsRequest(parent=parent, filter=text, **extra)
    found = (await models.ListModelVersions(request)).model_versions
    return ["/".join(each.name.split("/")[3::2]) for each in found]


async def upload(api: Any, artifact_id: str) -> Any:
    """An artifact without files, as a client makes it."""
    request = CreateArtifactRequest(parent=TEAM, artifact_id=artifact_id)
    return (await ArtifactServiceStub(api.channel).CreateArtifact(request)).artifact
