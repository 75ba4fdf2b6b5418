"""The registry of two servers on one database."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from subgrpc.v1 import model_registry_service_pb2 as pb

from .pair import Pair
from .seeds import TEAM, artifact, seed

pytestmark = pytest.mark.postgres
DIGITS = f"{TEAM}/models/digits"


@pytest.fixture
async def pair(running: Any) -> Pair:
    await seed(running, artifact("w"))
    return await Pair(running).both()


async def register(api: Any) -> int:
    version = pb.ModelVersion(artifact=f"{TEAM}/artifacts/w")
    request = pb.CreateModelVersionRequest(parent=DIGITS, model_version=version, create_model=True)
    made = await api.models.CreateModelVersion(request)
    number: int = made.model_version.number
    return number


async def test_numbers_have_no_holes_though_two_servers_give_them_out(pair: Pair) -> None:
    """Both at the same time; both read what either has written."""
    await register(pair.at_keeper)
    apis = (pair.at_keeper, pair.at_other)
    numbers = await asyncio.gather(*(register(apis[n % 2]) for n in range(40)))
    assert sorted(numbers) == list(range(2, 42))
    for api in apis:
        name = pb.GetModelVersionRequest(name=f"{DIGITS}/aliases/latest")
        assert (await api.models.GetModelVersion(name)).model_version.number == 41


async def test_a_watch_goes_on_at_the_other_server(pair: Pair) -> None:
    """In the midst of a revision, with a token of the first; experiments run on meanwhile."""
    for _ in range(2):
        await register(pair.at_keeper)
    first = pair.at_keeper.models.WatchModels(pb.WatchModelsRequest(parent=TEAM))
    frames = [await asyncio.wait_for(first.read(), 20) for _ in range(4)]
    for number in (1, 2):
        request = pb.SetModelAliasRequest(name=f"{DIGITS}/aliases/champion", number=number)
        await pair.at_other.models.SetModelAlias(request)
    frames += [await asyncio.wait_for(first.read(), 20) for _ in range(5)]
    for place in range(3, 8):
        request = pb.WatchModelsRequest(parent=TEAM, resume_token=frames[place].resume_token)
        again = pair.at_other.models.WatchModels(request)
        for expected in frames[place + 1 :]:
            assert await asyncio.wait_for(again.read(), 20) == expected
        again.cancel()
    first.cancel()
    made = await pair.run(pair.at_other)
    pair.end(made)
    await pair.at_keeper.until_state(made.name, "SUCCEEDED", timeout=30)


async def test_an_alias_is_set_once_by_whoever_saw_the_model_last(pair: Pair) -> None:
    """Of many that saw the same etag, on either server, one wins."""
    for _ in range(8):
        await register(pair.at_keeper)
    request = pb.GetModelRequest(name=DIGITS)
    etag = (await pair.at_keeper.models.GetModel(request)).model.etag
    apis = (pair.at_keeper, pair.at_other)
    done = await asyncio.gather(
        *(
            apis[number % 2].models.SetModelAlias(
                pb.SetModelAliasRequest(name=f"{DIGITS}/aliases/champion", number=number, etag=etag)
            )
            for number in range(1, 9)
        ),
        return_exceptions=True,
    )
    failed = [each for each in done if isinstance(each, grpc.aio.AioRpcError)]
    assert len(failed) == 7
    assert {each.code() for each in failed} == {grpc.StatusCode.ABORTED}
