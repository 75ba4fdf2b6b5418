"""Errors link to their entry in the documentation, where somebody has published it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from subgrpc.client import AsyncClient
from subgrpc.errors import InvalidArgument, NotFound, SubgrpcError

DOCS = "https://docs.example.com/subgrpc"
NAME = "teams/default/experiments/x"


async def help_url(address: str, call: str, *arguments: Any) -> str:
    """What the SDK's exception of a failing call says."""
    async with AsyncClient(address) as client:
        with pytest.raises(SubgrpcError) as caught:
            await getattr(client, call)(*arguments)
    return caught.value.help_url


async def test_an_error_carries_the_link_of_its_reason(running: Any) -> None:
    """In google.rpc.Help, which the SDK shows as `help_url`; a slash at the end makes no second."""
    for given in (DOCS, f"{DOCS}/"):
        server = await running.server(docs_url=given)
        url = await help_url(server.addresses[0], "get_experiment", NAME)
        assert url == f"{DOCS}/errors/#experiment_not_found"
        await running.stop(server)


async def test_a_stream_does_so_too(running: Any) -> None:
    """Its end is a status like any other."""
    server = await running.server(docs_url=DOCS)
    async with AsyncClient(server.addresses[0]) as client:
        with pytest.raises(NotFound) as caught:
            async for _ in client.experiments.logs("x"):
                pass
    assert caught.value.help_url == f"{DOCS}/errors/#experiment_not_found"


async def test_unless_it_is_asked_for_there_is_no_link(server: Any) -> None:
    """We own no site that we could link to."""
    assert await help_url(server.addresses[0], "get_experiment", NAME) == ""


async def test_who_is_not_let_in_gets_it_too(running: Any, tmp_path: Any) -> None:
    """Also from reflection, which asks for the same credentials."""
    tokens = tmp_path / "tokens"
    tokens.write_text("secret somebody\n")
    tokens.chmod(0o600)
    server = await running.server(docs_url=DOCS, token_file=tokens)
    url = await help_url(server.addresses[0], "get_experiment", NAME)
    assert url == f"{DOCS}/errors/#credentials_missing"


async def test_a_status_stays_small_with_a_long_link(running: Any, refused: Any) -> None:
    """However many mistakes there are: fewer of them are shown."""
    server = await running.server(docs_url="https://docs.example.com/".ljust(200, "d"))
    api = running.api(server)
    request = api.request()
    for number in range(32):
        request.experiment.spec.task_groups.add(role="Ä" * 20, command="x\0" * 100)
        request.experiment.labels["ß" * 60 + str(number)] = "\n" * 300
    failure = await refused(api.stub.CreateExperiment(request))
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    total = sum(len(str(k)) + len(v) * 4 // 3 for k, v in failure.trailing.items())
    assert total + 3 * len(failure.message.encode()) < 8192
    assert failure.violations
    assert int(failure.metadata["omittedViolations"]) > 0


@pytest.mark.parametrize(
    "url",
    [
        *(
            "docs.example.com",
            "ftp://x/",
            "https://",
            "https://x/?a",
            "https://x/#a",
            "https://x/ü",
        ),
        *("https://x/" + "d" * 200, "https://x/\n"),
    ],
)
async def test_what_is_no_site_is_refused(running: Any, url: str) -> None:
    """Before anything is opened."""
    with pytest.raises(InvalidArgument) as caught:
        await running.server(docs_url=url)
    assert caught.value.reason == "INVALID_DOCS_URL"
