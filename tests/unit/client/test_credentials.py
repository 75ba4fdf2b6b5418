"""What a client sends to prove itself."""

from __future__ import annotations

import pytest

from subgrpc.client.channel import Credentials
from subgrpc.errors import InvalidArgument


@pytest.mark.parametrize("token", ["t0ken", "t0ken\n", " t0ken\r\n"])
def test_white_space_around_a_token_is_no_part_of_it(token: str) -> None:
    """A file or a mounted secret often ends with a line break."""
    assert Credentials(token=token).metadata == (("authorization", "Bearer t0ken"),)


@pytest.mark.parametrize("token", ["", "\n"])
def test_no_token_sends_nothing(token: str) -> None:
    assert Credentials(token=token).metadata == ()


@pytest.mark.parametrize("token", ["t\u00f6ken", "one\ntwo", "a\0b"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        _ = Credentials(token=token).metadata
    assert token not in str(caught.value)
