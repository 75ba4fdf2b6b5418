"""What a supervisor is asked survives the pipe, and the status it writes is JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subgrpc.agent import status
from subgrpc.agent.request import Request, decode, encode

blobs = st.binary(max_size=30).filter(lambda data: b"\0" not in data)
names = blobs.filter(lambda name: bool(name) and b"=" not in name)


@given(
    st.lists(blobs, min_size=1, max_size=5),
    st.dictionaries(names, blobs, max_size=5),
    blobs,
    st.floats(0, 1e6),
    st.integers(0, 2**63),
)
def test_round_trip(
    args: list[bytes], env: dict[bytes, bytes], cwd: bytes, grace: float, memory: int
) -> None:
    """Whatever bytes arguments and variables hold arrive as they are."""
    sent = Request(args, env, cwd, grace, timeout=grace / 3, memory=memory, cgroup="/a/ü")
    got = decode(encode(sent))
    assert {name: getattr(got, name) for name in Request.__slots__} == {
        name: getattr(sent, name) for name in Request.__slots__
    }


def test_nul_is_refused() -> None:
    """A NUL would end a field early."""
    with pytest.raises(ValueError, match="NUL"):
        encode(Request([b"a\0b"], {}, b"/"))


@given(st.integers(0, 60))
def test_half_a_request_is_refused(length: int) -> None:
    """A request that was cut off is never taken for a whole one."""
    data = encode(Request([b"true"], {b"A": b"b"}, b"/tmp"))
    with pytest.raises(ValueError, match="not complete"):
        decode(data[: min(length, len(data) - 1)])


@given(st.text())
def test_status_is_json(message: str) -> None:
    """Any message is written so that a JSON parser reads the same."""
    written = status.Status()
    written.end("failed", "ExitCode", message)
    assert json.loads(status.to_json(written))["message"] == message


def test_status_is_replaced(tmp_path: Path) -> None:
    """A status replaces the one before, and leaves no other file."""
    current = status.Status()
    status.write(str(tmp_path), current)
    current.end("succeeded")
    status.write(str(tmp_path), current)
    assert [path.name for path in tmp_path.iterdir()] == [status.FILE]
    assert json.loads((tmp_path / status.FILE).read_text())["state"] == "ended"


def test_a_claim_is_granted_once(tmp_path: Path) -> None:
    """Who comes second is refused, for good."""
    assert status.claim(str(tmp_path))
    assert not status.claim(str(tmp_path))
