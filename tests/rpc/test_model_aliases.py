"""Aliases and stages of models, and what is in use."""

from __future__ import annotations

from typing import Any

import grpc

from subgrpc.v1 import model_registry_service_pb2 as pb

from .registry import (
    DIGITS,
    TEAM,
    history,
    listed,
    model,
    point,
    register,
    roll_back,
    stage,
    version,
    words,
)


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
