from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subgrpc.errors import Unauthenticated
from subgrpc.rpc.hop import MAX_AGE, METHOD, Hops
from subgrpc.tokens import TokenCodec

CODEC = TokenCodec(bytes(range(32)), "history-1")
NOW = 1_750_000_000.0


def hops(server: str, codec: TokenCodec = CODEC, now: float = NOW) -> Hops:
    return Hops(codec, server, clock=lambda: now)


def refused(receiver: Hops, credential: str, method: str = METHOD) -> str:
    with pytest.raises(Unauthenticated) as caught:
        receiver.admit(method, credential)
    assert caught.value.reason == "CREDENTIALS_INVALID"
    return caught.value.message


def test_a_server_is_let_in_for_the_attempt_that_it_asks_for() -> None:
    """And is named as what it is."""
    assert hops("b").admit(METHOD, hops("a").credential("b", 7)) == ("server:a", 7)


def test_a_credential_is_for_one_receiver_one_method_and_a_short_time() -> None:
    """Whoever gets hold of it cannot do anything else with it."""
    made = hops("a").credential("b", 1)
    assert "another" in refused(hops("c"), made)
    assert "nothing but" in refused(hops("b"), made, "ExperimentService.DeleteExperiment")
    for age in (MAX_AGE + 2, -MAX_AGE - 2):
        assert "clocks" in refused(hops("b", now=NOW + age), made)
    for age in (MAX_AGE - 2, -MAX_AGE + 2):
        assert hops("b", now=NOW + age).admit(METHOD, made).attempt == 1


def test_other_systems_are_not_let_in() -> None:
    """Nor is one from before a restore, nor tokens that clients get."""
    for codec in (TokenCodec(bytes(32), "history-1"), TokenCodec(bytes(range(32)), "history-2")):
        refused(hops("b"), hops("a", codec).credential("b", 1))
    refused(hops("b"), CODEC.seal("experiments", ["a", 1, 1]))
    refused(hops("b"), CODEC.sealer("logs", b"b").seal(f"a 1 {int(NOW)}".encode()))


@given(st.text(max_size=100))
def test_garbage_is_refused(garbage: str) -> None:
    """With nothing but the same error."""
    refused(hops("b"), garbage)
