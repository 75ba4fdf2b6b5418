"""The local driver passes the suite that every driver passes."""

from __future__ import annotations

from subgrpc.testing.contract import ProcessContract


class TestLocalDriver(ProcessContract):
    """Real processes of this host."""
