"""A model with many versions goes in portions, and only once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from subgrpc.errors import Aborted, NotFound
from subgrpc.metastore import MODEL_VERSIONS, MODELS
from subgrpc.services.model_removal import BATCH
from subgrpc.v1 import model_registry_service_pb2 as api

from .conftest import DIGITS, Registry

COUNT = 2 * BATCH + 10


@pytest.fixture
async def registry(tmp_path: Path, databases: Any) -> AsyncIterator[Registry]:
    made = await Registry.open(tmp_path, databases.of(tmp_path))
    yield made
    await made.store.close()


async def delete(registry: Registry, **fields: Any) -> api.DeleteModelResponse:
    request = api.DeleteModelRequest(name=DIGITS, force=True, **fields)
    return api.DeleteModelResponse.FromString(await registry.models.delete(request, "ann"))


async def test_many_versions_go_some_hundred_at_a_time(registry: Registry) -> None:
    """Watchers see each of them go, and others can write meanwhile; at last the model goes."""
    await asyncio.gather(*(registry.register() for _ in range(COUNT)))
    before = registry.store.revision
    last = (await delete(registry)).model
    assert last.version_count <= BATCH
    changes = registry.store.feed.after(before)
    assert changes is not None
    gone = [each.kind for each in changes if each.after is None]
    assert gone.count(MODEL_VERSIONS.name) == COUNT
    assert gone[-1] == MODELS.name
    assert len({each.revision for each in changes}) == COUNT // BATCH + 1
    with pytest.raises(NotFound):
        await registry.model()


async def test_a_repeat_leaves_a_model_alone_that_came_later(registry: Registry) -> None:
    """Also one with so many versions that it would go in portions."""
    await registry.register()
    assert (await delete(registry, request_id="r")).HasField("model")
    await asyncio.gather(*(registry.register() for _ in range(BATCH + 1)))
    assert not (await delete(registry, request_id="r")).HasField("model")
    assert (await registry.model()).version_count == BATCH + 1


async def test_the_etag_is_that_of_the_beginning(registry: Registry) -> None:
    """The deletion itself changes it, with each portion."""
    await asyncio.gather(*(registry.register() for _ in range(BATCH + 1)))
    with pytest.raises(Aborted):
        await delete(registry, etag="0")
    assert (await registry.model()).version_count == BATCH + 1
    await delete(registry, etag=(await registry.model()).etag)
    with pytest.raises(NotFound):
        await registry.model()
