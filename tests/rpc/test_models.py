"""The model registry, as a client meets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from subgrpc.v1 import model_registry_service_pb2 as pb
from subgrpc.v1.artifact_service_pb2 import CreateArtifactRequest, DeleteArtifactRequest
from subgrpc.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from subgrpc.v1.experiment_service_pb2 import BookmarkType, ChangeType

from .seeds import TEAM, artifact, seed

DIGITS = f"{TEAM}/models/digits"


STORED = (
    *(artifact(f"a{number}") for number in range(4)),
    artifact("open", ready=False),
    artifact("out-1", attempt=1, output="m"),
    artifact("out-2", attempt=2, output="m", sequence=1),
    artifact("out-3", attempt=2, output="m", sequence=2),
    artifact("log", attempt=2, output="l"),
)


@pytest.fixture
async def models(running: Any) -> Any:
    """A client of a server whose data folder has some artifacts."""
    await seed(running, *STORED)
    return running.api(await running.server()).models


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


async def test_a_model_is_created_read_and_listed(models: Any, refused: Any) -> None:
    """With what was asked for, and what only the server knows."""
    made = await create(
        models, display_name="Digits", description="reads\ndigits", tags={"task": "ocr"}
    )
    assert (made.name, made.display_name, made.creator) == (DIGITS, "Digits", "anonymous")
    assert (made.description, dict(made.tags)) == ("reads\ndigits", {"task": "ocr"})
    assert made.uid
    assert made.etag
    assert made.create_time == made.update_time
    assert (made.latest_version, made.version_count, dict(made.aliases)) == (0, 0, {})
    assert await model(models) == made
    listed = await models.ListModels(pb.ListModelsRequest(parent=TEAM, filter="tags.task = ocr"))
    assert list(listed.models) == [made]
    failure = await refused(create(models))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "MODEL_EXISTS")


async def test_what_is_not_there_is_named(models: Any, refused: Any) -> None:
    """A model, a version, an alias: each by its own reason."""
    get = pb.GetModelRequest(name=f"{TEAM}/models/nobody")
    for call in (models.GetModel(get), version(models, "versions/1"), listed(models)):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
    await create(models)
    assert await listed(models) == []
    assert (await refused(version(models, "versions/1"))).reason == "MODEL_VERSION_NOT_FOUND"
    for alias in ("champion", "latest"):
        failure = await refused(version(models, f"aliases/{alias}"))
        assert failure.reason == "MODEL_ALIAS_NOT_FOUND"
    assert (await refused(point(models, "champion", 7))).reason == "MODEL_VERSION_NOT_FOUND"
    assert (await refused(roll_back(models, "champion"))).reason == "MODEL_ALIAS_NOT_FOUND"


async def test_a_version_has_all_that_was_said_of_it(models: Any) -> None:
    """Signature, framework, metrics, tags, stage, aliases, what it was made of, its artifact."""
    first = await register(models)
    signature = pb.ModelSignature(
        inputs=[pb.ModelField(name="image", dtype="float32", shape=[-1, 8, 8])],
        outputs=[pb.ModelField(dtype="int64", shape=[-1])],
        params=[pb.ModelField(name="top", dtype="int32", optional=True, default_value="1")],
    )
    made = await register(
        models,
        "a1",
        description="better",
        tags={"data": "2026-11"},
        signature=signature,
        framework=pb.ModelFramework(name="sklearn", version="1.5"),
        metrics={"accuracy": 0.97, "loss": 1e-300},
        lineage=pb.ModelLineage(parent_versions=[first.name], experiment=f"{TEAM}/experiments/x"),
        stage="staging",
        aliases=["champion", "best"],
    )
    assert (made.name, made.number) == (f"{DIGITS}/versions/2", 2)
    assert (made.stage, list(made.aliases)) == ("Staging", ["best", "champion"])
    assert (made.artifact_digest, made.size_bytes) == ("ab" * 32, 123)
    assert (made.signature, made.framework.name) == (signature, "sklearn")
    assert made.metrics["accuracy"] == 0.97
    assert made.lineage == pb.ModelLineage(parent_versions=[first.name])
    for name in ("versions/2", "aliases/best", "aliases/champion", "aliases/latest"):
        found = await version(models, name)
        assert found.SerializeToString(deterministic=True) == made.SerializeToString(
            deterministic=True
        )
    digits = await model(models)
    assert (digits.latest_version, digits.version_count) == (2, 2)
    assert dict(digits.aliases) == {"best": 2, "champion": 2}
    assert words(await history(models)) == [
        "Created ->-",
        f"VersionRegistered v1 ->{TEAM}/artifacts/a0",
        f"VersionRegistered v2 ->{TEAM}/artifacts/a1",
        "StageChanged v2 None>Staging",
        "AliasSet v2 @champion ->2",
        "AliasSet v2 @best ->2",
    ]


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


async def test_numbers_have_no_holes_and_are_never_used_again(models: Any) -> None:
    """A hundred at the same time; the greatest one is deleted, and its number stays free."""
    made = await asyncio.gather(*(register(models, f"a{n % 4}") for n in range(100)))
    assert sorted(each.number for each in made) == list(range(1, 101))
    assert len({each.uid for each in made}) == 100
    gone = pb.DeleteModelVersionRequest(name=f"{DIGITS}/versions/100")
    assert (await models.DeleteModelVersion(gone)).model_version.number == 100
    digits = await model(models)
    assert (digits.latest_version, digits.version_count) == (99, 99)
    assert (await version(models, "aliases/latest")).number == 99
    assert (await register(models)).number == 101


async def test_an_alias_moves_and_rolls_back_step_by_step(models: Any, refused: Any) -> None:
    """What is set after a rollback is rolled back to where that had led."""
    for _ in range(4):
        await register(models)
    for number in (1, 2, 2, 3):
        assert (await point(models, "champion", number, message="why")).number == number
    assert [(await roll_back(models, "champion")).number for _ in range(2)] == [2, 1]
    failure = await refused(roll_back(models, "champion"))
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "NOTHING_TO_ROLL_BACK",
    )
    await point(models, "champion", 4)
    assert (await roll_back(models, "champion", message="4 is bad")).number == 1
    assert (await version(models, "aliases/champion")).number == 1
    assert list((await version(models, "versions/1")).aliases) == ["champion"]
    assert list((await version(models, "versions/4")).aliases) == []
    events = await history(models, filter="alias = champion")
    assert words(events) == [
        "AliasSet v1 @champion ->1",
        "AliasSet v2 @champion 1>2",
        "AliasSet v3 @champion 2>3",
        "AliasRolledBack v2 @champion 3>2",
        "AliasRolledBack v1 @champion 2>1",
        "AliasSet v4 @champion 1>4",
        "AliasRolledBack v1 @champion 4>1",
    ]
    assert (events[0].message, events[-1].message, events[-1].actor) == (
        *("why", "4 is bad"),
        "anonymous",
    )
    newest = await history(models, order_by="sequence desc")
    assert [each.sequence for each in newest] == list(range(len(newest), 0, -1))


async def test_a_rollback_leads_to_no_version_that_is_gone(models: Any, refused: Any) -> None:
    """Nor behind the removal of an alias."""
    for _ in range(3):
        await register(models)
    for number in (1, 2, 3):
        await point(models, "champion", number)
    await models.DeleteModelVersion(pb.DeleteModelVersionRequest(name=f"{DIGITS}/versions/2"))
    failure = await refused(roll_back(models, "champion"))
    assert failure.reason == "ROLLBACK_TARGET_DELETED"
    assert "version 2" in failure.message
    remove = pb.DeleteModelAliasRequest(name=f"{DIGITS}/aliases/champion", message="no more")
    assert (await models.DeleteModelAlias(remove)).model_alias.number == 3
    assert (await refused(models.DeleteModelAlias(remove))).reason == "MODEL_ALIAS_NOT_FOUND"
    remove.allow_missing = True
    assert not (await models.DeleteModelAlias(remove)).HasField("model_alias")
    await point(models, "champion", 1)
    assert (await refused(roll_back(models, "champion"))).reason == "NOTHING_TO_ROLL_BACK"


async def test_a_repeated_rollback_goes_back_once(models: Any) -> None:
    """And a repeated registration makes one version."""
    for _ in range(2):
        assert (await register(models, request_id="r1")).number == 1
    for number in (2, 3):
        await register(models)
        await point(models, "champion", number)
    await point(models, "champion", 1)
    for _ in range(3):
        assert (await roll_back(models, "champion", request_id="r2")).number == 3


async def test_a_stage_has_one_version_if_the_others_are_archived(
    models: Any, refused: Any
) -> None:
    """Any word is a stage; each change stands in the history."""
    for _ in range(3):
        await register(models)
    await stage(models, 1, "PRODUCTION", message="first")
    await stage(models, 2, "Shadow test")
    moved = await stage(models, 3, "Production", archive_existing=True, message="better")
    assert (moved.stage, (await version(models, "versions/1")).stage) == ("Production", "Archived")
    assert await stage(models, 3, "production") == moved
    assert await listed(models, "stage = production") == ["digits/3"]
    assert await listed(models, 'stage = "Shadow test"', f"{TEAM}/models/-") == ["digits/2"]
    assert words(await history(models, filter='type = "StageChanged"')) == [
        "StageChanged v1 None>Production",
        "StageChanged v2 None>Shadow test",
        "StageChanged v1 Production>Archived",
        "StageChanged v3 None>Production",
    ]
    failure = await refused(stage(models, 2, "Archived", archive_existing=True))
    assert list(failure.violations) == ["archive_existing"]


async def test_what_is_in_use_is_deleted_by_force_only(models: Any, refused: Any) -> None:
    """The references are listed; a model with versions needs force, too."""
    await register(models, aliases=["champion", "a"], stage="Production")
    request = pb.DeleteModelVersionRequest(name=f"{DIGITS}/versions/1")
    failure = await refused(models.DeleteModelVersion(request))
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "MODEL_VERSION_IN_USE",
    )
    assert failure.metadata["references"] == "alias a, alias champion, stage Production"
    request.force = True
    await models.DeleteModelVersion(request)
    assert dict((await model(models)).aliases) == {}
    assert words(await history(models))[-3:] == [
        "AliasRemoved v1 @a 1>-",
        "AliasRemoved v1 @champion 1>-",
        f"VersionDeleted v1 {TEAM}/artifacts/a0>-",
    ]
    await register(models)
    failure = await refused(models.DeleteModel(pb.DeleteModelRequest(name=DIGITS)))
    assert failure.reason == "MODEL_HAS_VERSIONS"
    for _ in range(2):
        gone = pb.DeleteModelRequest(name=DIGITS, force=True, request_id="r")
        await models.DeleteModel(gone)
    assert (await refused(model(models))).reason == "MODEL_NOT_FOUND"
    assert (await register(models)).number == 1
    assert words(await history(models))[0] == "Created ->-"


async def test_masks_say_what_is_changed(models: Any, refused: Any) -> None:
    """Single tags can be changed beside others'; what changed stands in the history."""
    await create(models, display_name="D", tags={"a": "1", "b.c/d": "2"})
    request = pb.UpdateModelRequest(model=pb.Model(name=DIGITS, tags={"a": "9", "e": "3"}))
    request.update_mask.paths.extend(["tags.e", "tags.b.c/d"])
    changed = (await models.UpdateModel(request)).model
    assert (dict(changed.tags), changed.display_name) == ({"a": "1", "e": "3"}, "D")
    await register(models, tags={"x": "1"})
    wanted = pb.ModelVersion(name=f"{DIGITS}/versions/1", description="d", stage="Staging")
    everything = pb.UpdateModelVersionRequest(model_version=wanted)
    changed = (await models.UpdateModelVersion(everything)).model_version
    assert (changed.description, dict(changed.tags), changed.stage) == ("d", {}, "None")
    everything.model_version.etag = "0"
    failure = await refused(models.UpdateModelVersion(everything))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    everything.update_mask.paths.append("stage")
    failure = await refused(models.UpdateModelVersion(everything))
    assert list(failure.violations) == ["update_mask"]
    assert words(await history(models))[1:] == [
        "TagRemoved #b.c/d 2>-",
        "TagSet #e ->3",
        f"VersionRegistered v1 ->{TEAM}/artifacts/a0",
        "Updated v1 ->-",
        "TagRemoved v1 #x 1>-",
    ]


async def test_etags_hold_off_who_has_not_seen_the_last_change(models: Any, refused: Any) -> None:
    """An alias has its model's."""
    await register(models)
    seen = (await model(models)).etag
    await register(models)
    for call in (
        point(models, "champion", 1, etag=seen),
        models.DeleteModel(pb.DeleteModelRequest(name=DIGITS, force=True, etag=seen)),
        stage(models, 1, "Staging", etag="0"),
    ):
        assert (await refused(call)).reason == "ETAG_MISMATCH"
    await point(models, "champion", 1, etag=(await model(models)).etag)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("metrics.accuracy >= 0.9", [3, 2]),
        ("metrics.accuracy > 0.8 AND NOT metrics.loss:*", [3]),
        ("metrics.accuracy < 0.5", []),
        ("metrics.loss != 1", [3, 1]),
        ("alias = champion", [2]),
        ("alias != champion AND number > 1", [3]),
        ("framework = torch", [1]),
        ("tags.k = v", [1, 3]),
        ("tags.k:* AND stage = none", [3]),
        ('artifact = "teams/default/artifacts/a1"', [2]),
    ],
)
async def test_versions_are_found_by_what_they_are(
    models: Any, text: str, found: list[int]
) -> None:
    """Of one model by falling number, of all the newest first: here the same."""
    await register(
        models,
        metrics={"accuracy": 0.5},
        framework=pb.ModelFramework(name="torch"),
        tags={"k": "v"},
        stage="Staging",
    )
    accurate = {"accuracy": 0.9, "loss": 1}
    await register(models, "a1", metrics=accurate, aliases=["champion"])
    await register(models, metrics={"accuracy": 0.95}, tags={"k": "v"})
    wanted = [f"digits/{number}" for number in sorted(found, reverse=True)]
    assert await listed(models, text) == wanted
    assert await listed(models, text, f"{TEAM}/models/-") == wanted


async def test_lists_go_page_by_page_in_the_order_asked_for(models: Any, refused: Any) -> None:
    """Orders by number are of one model."""
    for _ in range(5):
        await register(models)
    request = pb.ListModelVersionsRequest(parent=DIGITS, page_size=2, order_by="number")
    numbers = []
    while True:
        page = await models.ListModelVersions(request)
        numbers += [each.number for each in page.model_versions]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert numbers == [1, 2, 3, 4, 5]
    failure = await refused(listed(models, "", f"{TEAM}/models/-", order_by="number"))
    assert list(failure.violations) == ["order_by"]
    failure = await refused(listed(models, "metrics.accuracy > high"))
    assert "is not a number such as 0.9" in failure.message


async def frames(call: Any, count: int) -> AsyncIterator[pb.WatchModelsResponse]:
    for _ in range(count):
        yield await asyncio.wait_for(call.read(), 10)


def shown(frame: pb.WatchModelsResponse) -> str:
    """A frame in short."""
    if frame.WhichOneof("frame") == "bookmark":
        return BookmarkType.Name(frame.bookmark.type).removeprefix("BOOKMARK_TYPE_")
    kind = ChangeType.Name(frame.change.type).removeprefix("CHANGE_TYPE_")
    if frame.change.WhichOneof("resource") == "model":
        return f"{kind} {frame.change.model.name.split('/')[-1]}"
    return f"{kind} {'/'.join(frame.change.model_version.name.split('/')[3::2])}"


async def test_a_watch_shows_models_and_versions_and_goes_on_from_any_frame(models: Any) -> None:
    """First what is there: models, then versions. From each token the rest comes, and no more."""
    await register(models)
    await create(models, "other")
    call = models.WatchModels(pb.WatchModelsRequest(parent=TEAM))
    seen = [each async for each in frames(call, 4)]
    await point(models, "champion", 1)
    gone = pb.DeleteModelVersionRequest(name=f"{DIGITS}/versions/1", force=True)
    await models.DeleteModelVersion(gone)
    await models.DeleteModel(pb.DeleteModelRequest(name=f"{TEAM}/models/other"))
    seen += [each async for each in frames(call, 5)]
    call.cancel()
    said = [shown(each) for each in seen]
    assert said[:4] == [
        *("ADDED digits", "ADDED other", "ADDED digits/1"),
        "INITIAL_STATE_COMPLETE",
    ]
    assert sorted(said[4:6]) == ["MODIFIED digits", "MODIFIED digits/1"]
    assert sorted(said[6:8]) == ["MODIFIED digits", "REMOVED digits/1"]
    assert said[8] == "REMOVED other"
    # Behind the initial state also in the midst of the changes of one revision.
    for place in range(3, 8):
        token, rest = seen[place].resume_token, said[place + 1 :]
        again = models.WatchModels(pb.WatchModelsRequest(parent=TEAM, resume_token=token))
        assert [shown(each) async for each in frames(again, len(rest))] == rest
        again.cancel()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("model_id = digits", ["ADDED digits", "ADDED digits/1"]),
        ("kind = VERSION", ["ADDED digits/1"]),
        ("kind = MODEL AND latest_version = 1", ["ADDED digits"]),
        ("stage = Staging", ["ADDED digits/1"]),
        ("stage != Production", ["ADDED digits", "ADDED other", "ADDED digits/1"]),
        ("alias = champion", ["ADDED digits", "ADDED digits/1"]),
        ("tags.k:* OR metrics.accuracy > 0", ["ADDED other", "ADDED digits/1"]),
    ],
)
async def test_a_watch_of_both_kinds_is_filtered_by_the_fields_of_either(
    models: Any, text: str, found: list[str]
) -> None:
    """What a kind does not have matches no comparison."""
    accuracy = {"accuracy": 0.5}
    await register(models, stage="Staging", aliases=["champion"], metrics=accuracy)
    await create(models, "other", tags={"k": "v"})
    call = models.WatchModels(pb.WatchModelsRequest(parent=TEAM, filter=text))
    said = [shown(each) async for each in frames(call, len(found) + 1)]
    assert said == [*found, "INITIAL_STATE_COMPLETE"]
    call.cancel()


async def test_experiments_are_watched_without_models(api: Any) -> None:
    """And the other way round: each stream has its own kinds only."""
    call = api.watch()
    assert (await asyncio.wait_for(call.read(), 10)).WhichOneof("frame") == "bookmark"
    await create(api.models)
    made = await api.create("run")
    frame = await asyncio.wait_for(call.read(), 10)
    assert frame.change.experiment.name == made.name
    assert frame.change.revision >= 2
    call.cancel()
    others = api.models.WatchModels(pb.WatchModelsRequest(parent=TEAM))
    said = [shown(each) async for each in frames(others, 2)]
    assert said == ["ADDED digits", "INITIAL_STATE_COMPLETE"]
    others.cancel()


async def upload(api: Any, artifact_id: str) -> Any:
    """An artifact without files, as a client makes it."""
    request = CreateArtifactRequest(parent=TEAM, artifact_id=artifact_id)
    return (await ArtifactServiceStub(api.channel).CreateArtifact(request)).artifact


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
