"""What the operating system says of a store's folder, as the errors that all stores have."""

from __future__ import annotations

import errno
import os

import pytest

from subgrpc.artifacts.failures import os_errors
from subgrpc.errors import RetryableError, SubgrpcError


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "STORE_FULL"),
        (errno.EDQUOT, "STORE_FULL"),
        (errno.EFBIG, "STORE_FULL"),
        (errno.EACCES, "STORE_ACCESS_DENIED"),
        (errno.EPERM, "STORE_ACCESS_DENIED"),
        (errno.EROFS, "STORE_ACCESS_DENIED"),
        (errno.ENOENT, "STORE_MISCONFIGURED"),
        (errno.ENOTDIR, "STORE_MISCONFIGURED"),
        (errno.ELOOP, "STORE_MISCONFIGURED"),
        (errno.EIO, "STORE_UNAVAILABLE"),
        (errno.ESTALE, "STORE_UNAVAILABLE"),
        (errno.ETIMEDOUT, "STORE_UNAVAILABLE"),
        (errno.EMFILE, "STORE_UNAVAILABLE"),
        (errno.ENOTCONN, "STORE_UNAVAILABLE"),
    ],
)
def test_errors_of_a_file_system(number: int, reason: str) -> None:
    """Each has a reason that programs know, the store's name, and what the system said."""
    said = os.strerror(number)
    wanted = pytest.raises(SubgrpcError, match=rf"'disk'.*{said}.*/a/file")
    with wanted as raised, os_errors("disk"):
        raise OSError(number, said, "/a/file")
    assert raised.value.reason == reason
    assert raised.value.metadata == {"store": "disk"}
    assert isinstance(raised.value, RetryableError) == (
        reason in ("STORE_FULL", "STORE_UNAVAILABLE")
    )
