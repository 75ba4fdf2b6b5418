from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from subgrpc.config import ServerConfig
from subgrpc.errors import InvalidArgument
from subgrpc.rpc.listen import advertised, check_advertise, parse_listener

TLS = {"tls_cert": Path("cert.pem"), "tls_key": Path("key.pem")}


def address(*listen: str, **changes: object) -> str:
    """What a server advertises that got port 7000 wherever it listens."""
    config = replace(ServerConfig(Path(), listen=listen), **changes)  # type: ignore[arg-type]
    listeners = [parse_listener(each) for each in listen]
    return advertised(config, listeners, [each.at(7000) for each in listeners])


def test_the_first_address_that_can_be_called_is_advertised() -> None:
    """With the port that it got; a socket only where there is nothing else."""
    assert address("127.0.0.1:0", "10.0.0.1:0") == "127.0.0.1:7000"
    assert address("0.0.0.0:0", "[::]:0", "gpu7:0") == "gpu7:7000"
    assert address("unix:/run/s", "[::1]:0") == "[::1]:7000"
    assert address("0.0.0.0:0", "unix:/run/s") == "unix:/run/s"
    assert address("0.0.0.0:0") == ""


def test_what_is_given_is_advertised() -> None:
    """Whatever is listened at."""
    assert address("0.0.0.0:0", advertise="gpu7:7411") == "gpu7:7411"
    assert address("127.0.0.1:0", advertise="unix:/run/s") == "unix:/run/s"


def test_others_are_told_whether_tls_is_spoken() -> None:
    """A socket never speaks it."""
    assert address("gpu7:0", **TLS) == "tls://gpu7:7000"
    assert address("0.0.0.0:0", advertise="gpu7:7411", **TLS) == "tls://gpu7:7411"
    assert address("gpu7:0", advertise="unix:/run/s", **TLS) == "unix:/run/s"


@pytest.mark.parametrize("text", ["0.0.0.0:7411", "[::]:7411", "gpu7:0", "gpu7", "unix:", ":7411"])
def test_what_nobody_can_call_is_refused(text: str) -> None:
    """Before anything is opened."""
    with pytest.raises(InvalidArgument) as caught:
        check_advertise(text)
    assert caught.value.reason == "INVALID_LISTENER"
