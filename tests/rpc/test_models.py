"""Models and their versions, as a client meets them."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from subgrpc.v1 import model_registry_service_pb2 as pb

from .registry import (
    DIGITS,
    TEAM,
    create,
    history,
    listed,
    model,
    point,
    register,
    roll_back,
    version,
    words,
)


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
