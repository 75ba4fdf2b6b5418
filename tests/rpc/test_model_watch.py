"""Watches of models and versions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from subgrpc.v1 import model_registry_service_pb2 as pb
from subgrpc.v1.experiment_service_pb2 import BookmarkType, ChangeType

from .registry import (
    DIGITS,
    TEAM,
    create,
    point,
    register,
)


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
