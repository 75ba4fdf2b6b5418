"""The client: a connection to one server, with its resources as groups."""

from __future__ import annotations

from typing import Any

from subgrpc.client.aio.artifacts import AsyncArtifacts
from subgrpc.client.aio.calls import AsyncCalls
from subgrpc.client.aio.clusters import AsyncClusters
from subgrpc.client.aio.connection import AsyncConnection
from subgrpc.client.aio.experiments import AsyncExperiments
from subgrpc.client.aio.models import AsyncModels
from subgrpc.client.channel import Credentials, Target, from_environment


def async_connect(
    address: str | None = None, *, timeout: float = 30.0, **credentials: str
) -> AsyncClient:
    """Returns a client of the server at `HOST:PORT` or `unix:PATH`.

    Args:
        address: where the server listens. None: what `$SUBGRPC_ADDRESS` says, else
            127.0.0.1:7411, with the token and certificates of the other variables.
        timeout: seconds that one unary call may take.
        **credentials: `token`, `ca`, `cert`, `key`, as in `Credentials`.

    Raises:
        InvalidArgument: the address, a token or a file is wrong. Nothing is connected to before
            the first call.
    """
    given = Credentials(**credentials) if credentials else None
    return AsyncClient(address, given, timeout=timeout)


class AsyncClient(AsyncCalls):
    """A client of one server: `experiments`, `artifacts`, `models`, `clusters`, and each call.

    It connects with its first call, streams and other calls apart. It can be pickled, token
    included; the copy makes connections of its own, as does a process that was forked.

    Args:
        address: as in `async_connect`.
        credentials: token and certificates; None: none, or with no address those of the
            environment.
        timeout: seconds that one unary call may take.

    Raises:
        InvalidArgument: the address, a token or a file is wrong.
    """

    def __init__(
        self,
        address: str | None = None,
        credentials: Credentials | None = None,
        *,
        timeout: float = 30.0,
    ) -> None:
        if address is None:
            address, found = from_environment()
            credentials = credentials or found
        credentials = credentials or Credentials()
        self._arguments = address, credentials, timeout
        super().__init__(AsyncConnection(Target(address, credentials), timeout))
        self.experiments = AsyncExperiments(self)
        """The experiments of the server."""
        self.artifacts = AsyncArtifacts(self)
        """The artifacts of the server."""
        self.models = AsyncModels(self)
        """The models of the server."""
        self.clusters = AsyncClusters(self)
        """The clusters of the server."""

    async def close(self) -> None:
        """Closes the connections, for good; running streams and calls end with an error."""
        await self._connection.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r})"

    def __getstate__(self) -> tuple[str, Credentials, float]:
        return self._arguments

    def __setstate__(self, state: tuple[Any, Any, Any]) -> None:
        address, credentials, timeout = state
        AsyncClient.__init__(self, address, credentials, timeout=timeout)
