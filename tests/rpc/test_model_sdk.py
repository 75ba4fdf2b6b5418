"""The SDK's models against a real server, in both flavours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from subgrpc.client import AsyncClient, Client
from subgrpc.errors import Aborted, AlreadyExists, FailedPrecondition, NotFound

from .seeds import artifact, seed
from .test_sdk import Either


@pytest.fixture(params=[Client, AsyncClient])
async def either(request: Any, running: Any) -> AsyncIterator[Either]:
    """A client of a server with the artifacts w1, w2 and the output run/model."""
    await seed(running, artifact("w1"), artifact("w2"), artifact("out", attempt=1, output="model"))
    server = await running.server()
    either = Either(request.param, server.addresses[0])
    yield either
    done = either.client.close()
    if done is not None:
        await done


async def test_a_model_from_its_creation_to_its_end(either: Either) -> None:
    """create, register, get, version, versions, list, update, describe, tag, delete."""
    made = await either(lambda c: c.models.create("digits", display_name="D", tags={"a": "1"}))
    assert made.display_name == "D"
    with pytest.raises(AlreadyExists):
        await either(lambda c: c.models.create("digits"))
    first = await either(
        lambda c: c.models.register(
            "digits",
            "w1",
            framework="sklearn==1.5",
            signature={"inputs": [{"dtype": "float32", "shape": [-1, 64]}]},
            metrics={"accuracy": 0.9},
            message="a first try",
        )
    )
    second = await either(
        lambda c: c.models.register(
            "digits", "e/model", stage="Staging", aliases=["best"], parents=["digits@latest"]
        )
    )
    assert (first.number, second.number) == (1, 2)
    assert second.lineage.parent_versions == [first.name]
    assert second.lineage.output == "model"
    assert await either(lambda c: c.models.version("digits@best")) == second
    assert await either(lambda c: c.models.versions("digits")) == [second, first]
    assert await either(lambda c: c.models.versions(filter="metrics.accuracy > 0.8")) == [first]
    digits = await either(lambda c: c.models.get("digits"))
    assert (digits.latest_version, dict(digits.aliases)) == (2, {"best": 2})
    assert await either(lambda c: c.models.list(filter="alias = best")) == [digits]
    changed = await either(lambda c: c.models.update("digits", description="reads"))
    assert (changed.display_name, changed.description) == ("D", "reads")
    with pytest.raises(Aborted):
        await either(lambda c: c.models.update("digits", display_name="x", etag=made.etag))
    tagged = await either(lambda c: c.models.tag("digits", {"a": None, "b": "2"}))
    assert dict(tagged.tags) == {"b": "2"}
    tagged = await either(lambda c: c.models.tag("digits@best", {"k": "v"}))
    assert (tagged.number, dict(tagged.tags)) == (2, {"k": "v"})
    described = await either(lambda c: c.models.describe("digits/1", "first"))
    assert described.description == "first"
    await either(lambda c: c.models.delete("digits/1"))
    with pytest.raises(FailedPrecondition) as caught:
        await either(lambda c: c.models.delete("digits@best"))
    assert caught.value.metadata["references"] == "alias best"
    await either(lambda c: c.models.delete("digits", force=True))
    with pytest.raises(NotFound):
        await either(lambda c: c.models.get("digits"))
    await either(lambda c: c.models.delete("digits", allow_missing=True))


async def test_stages_and_aliases_have_a_history(either: Either) -> None:
    """set_stage, set_alias, rollback, remove_alias, history."""
    for source in ("w1", "w2", "w1"):
        await either(lambda c, source=source: c.models.register("digits", source))
    await either(lambda c: c.models.set_stage("digits/1", "production"))
    await either(
        lambda c: c.models.set_stage("digits/2", "Production", archive_existing=True, message="m")
    )
    stages = [each.stage for each in await either(lambda c: c.models.versions("digits"))]
    assert stages == ["None", "Production", "Archived"]
    for number in (1, 2, 3):
        await either(lambda c, n=number: c.models.set_alias("digits", "champion", n))
    back = await either(lambda c: c.models.rollback("digits", "champion", message="3 is bad"))
    assert (back.number, back.model_version) == (2, "teams/default/models/digits/versions/2")
    await either(lambda c: c.models.rollback("digits", "champion"))
    with pytest.raises(FailedPrecondition):
        await either(lambda c: c.models.rollback("digits", "champion"))
    await either(lambda c: c.models.remove_alias("digits", "champion", message="done"))
    await either(lambda c: c.models.remove_alias("digits", "champion", allow_missing=True))
    events = await either(lambda c: c.models.history("digits", filter="alias = champion"))
    assert [(each.type, each.to_value) for each in events] == [
        *(("AliasSet", "1"), ("AliasSet", "2"), ("AliasSet", "3")),
        *(("AliasRolledBack", "2"), ("AliasRolledBack", "1"), ("AliasRemoved", "")),
    ]
    assert [each.message for each in events[3:]] == ["3 is bad", "", "done"]


async def test_a_watch_goes_on_over_a_restart(running: Any, until: Any) -> None:
    """Each change once, also those that one mutation makes together."""
    await seed(running, artifact("w1"))
    server = await running.server()
    port = server.addresses[0].rpartition(":")[2]
    async with AsyncClient(server.addresses[0]) as client:
        for _ in range(2):
            await client.models.register("digits", "w1")
        seen: list[tuple[int, str]] = []

        async def follow(changes: Any) -> None:
            async for change in changes:
                kind = change.WhichOneof("resource")
                seen.append((change.revision, kind))

        changes = client.models.watch(filter="model_id = digits")
        watcher = asyncio.create_task(follow(changes))
        await until(lambda: len(seen) == 3)
        for round_ in range(4):
            await client.models.set_alias("digits", "champion", round_ % 2 + 1)
            if round_ == 1:
                await running.stop(server)
                server = await running.server(listen=(f"127.0.0.1:{port}",))
        last = (await client.models.get("digits")).etag
        await until(lambda: len(seen) == 14 and seen[-1][0] == int(last, 16), 40)
        await changes.close()
        await watcher
    # Three of the initial state; of each move the model and one or two versions.
    counted = {revision: [k for r, k in seen if r == revision] for revision, _ in seen}
    assert [sorted(kinds) for kinds in list(counted.values())[-4:]] == [
        ["model", "model_version"],
        *[["model", "model_version", "model_version"]] * 3,
    ]
