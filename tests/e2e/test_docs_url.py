"""`subgrpc up --docs-url`: where the documentation is published, errors lead to it."""

from __future__ import annotations

import pytest

from subgrpc.client import Client
from subgrpc.errors import NotFound

from .conftest import Cli


def test_a_server_is_told_where_the_documentation_is(own: Cli) -> None:
    """In the background too; what is no site is refused with the command that explains it."""
    refused = own("up", "--detach", "--docs-url", "docs", code=1).stderr
    assert refused.splitlines()[-1] == b"help: subgrpc errors INVALID_DOCS_URL"
    own.up("--docs-url", "https://docs.example.com/subgrpc/")
    with Client(own.env["SUBGRPC_ADDRESS"]) as client, pytest.raises(NotFound) as caught:
        client.experiments.get("none")
    wanted = "https://docs.example.com/subgrpc/errors/#experiment_not_found"
    assert caught.value.help_url == wanted
