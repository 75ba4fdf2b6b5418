from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subgrpc.errors import InvalidArgument
from subgrpc.tokens import MAX_LENGTH, TokenCodec

KEY = bytes(range(32))
CODEC = TokenCodec(KEY, "history-1")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=5), x, max_size=4),
    max_leaves=8,
)  # fmt: skip


@given(json_values)
def test_a_token_gives_back_what_it_was_made_of(payload: object) -> None:
    """Whatever JSON can hold comes back equal, in characters that need no quoting in a URL."""
    token = CODEC.seal("page", payload)
    assert CODEC.open("page", token) == payload
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.text(max_size=200))
def test_garbage_is_refused(garbage: str) -> None:
    """No text that this system never made opens, and none raises anything else."""
    with pytest.raises(InvalidArgument) as caught:
        CODEC.open("page", garbage)
    assert caught.value.reason == "PAGE_TOKEN_INVALID"
    assert [each.field for each in caught.value.violations] == ["page_token"]


@given(st.data())
def test_a_changed_token_is_refused(data: st.DataObject) -> None:
    """Each changed, lost or added character makes a token invalid: it has one spelling."""
    token = CODEC.seal("page", [1, "x"])
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("AQgw09-_zé= \n").filter(lambda each: each != token[at]))
    changed = data.draw(
        st.sampled_from([token[:at] + other + token[at + 1 :], token[:at] + token[at + 1 :],
                         token[:at] + other + token[at:], token + other])
    )  # fmt: skip
    with pytest.raises(InvalidArgument):
        CODEC.open("page", changed)


@pytest.mark.parametrize(
    "other",
    [
        CODEC.seal("watch", [1]),
        TokenCodec(KEY, "history-2").seal("page", [1]),
        TokenCodec(bytes(32), "history-1").seal("page", [1]),
    ],
    ids=["kind", "history", "key"],
)
def test_a_token_of_another_purpose_history_or_key_is_refused(other: str) -> None:
    """The reason and the field are the caller's."""
    with pytest.raises(InvalidArgument) as caught:
        CODEC.open("page", other, reason="RESUME_TOKEN_INVALID", field="resume_token")
    assert caught.value.reason == "RESUME_TOKEN_INVALID"
    assert caught.value.violations[0].field == "resume_token"


def test_a_token_outlives_the_server_that_made_it() -> None:
    """Another codec with the same key and history opens it."""
    assert TokenCodec(KEY, "history-1").open("page", CODEC.seal("page", {"a": 1})) == {"a": 1}


def test_a_sealer_binds_its_tokens_to_a_context() -> None:
    """The context is not in the token, and must be the same again."""
    sealer = CODEC.sealer("logs", b"request 1")
    token = sealer.seal(b"position")
    assert sealer.open(token, reason="R", field="f") == b"position"
    for other in (CODEC.sealer("logs", b"request 2"), CODEC.sealer("logsr", b"equest 1")):
        with pytest.raises(InvalidArgument):
            other.open(token, reason="R", field="f")


def test_a_token_that_would_be_refused_for_its_length_is_not_made() -> None:
    """The protos allow 2048 characters."""
    with pytest.raises(ValueError, match="2048"):
        CODEC.seal("page", "x" * MAX_LENGTH)
