"""How servers of one control plane know each other: a short-lived credential in the metadata.

It is a token (`subgrpc.tokens`) under the key that they share through the metastore, made for one
receiver, and good for one thing: to read the output of one attempt, on behalf of a caller whose
permission the sender has checked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from subgrpc.errors import InvalidArgument, Unauthenticated
from subgrpc.tokens import TokenCodec

HOP_KEY: Final = "subgrpc-hop"
"""The metadata that holds it."""
METHOD: Final = "ExperimentService.StreamLogs"
"""All that it opens."""
MAX_AGE: Final = 300.0
"""Seconds for which it is good, and by which the clocks of servers may differ."""


class Hop(NamedTuple):
    """What another server asks for.

    Attributes:
        principal: who it is.
        attempt: of whose output it wants a part.
    """

    principal: str
    attempt: int


class Hops:
    """Makes and checks the credentials of one server."""

    def __init__(
        self, tokens: TokenCodec, server: str, clock: Callable[[], float] = time.time
    ) -> None:
        """Takes the control plane's tokens, and the id of this server."""
        self._tokens = tokens
        self._server = server
        self._clock = clock

    def credential(self, receiver: str, attempt: int) -> str:
        """Returns what the server of that id accepts from this one."""
        payload = f"{self._server} {attempt} {int(self._clock())}"
        return self._tokens.sealer("hop", receiver.encode()).seal(payload.encode())

    def admit(self, method: str, credential: str) -> Hop:
        """Checks what came with a call.

        Raises:
            Unauthenticated: it is none, was made for another server, or is too old; or the method
                is another one.
        """
        sealer = self._tokens.sealer("hop", self._server.encode())
        try:
            payload = sealer.open(credential, reason="CREDENTIALS_INVALID", field=HOP_KEY)
        except InvalidArgument as error:
            text = "this server does not know who asks: it is another one, or of another system"
            raise Unauthenticated(text, reason="CREDENTIALS_INVALID") from error
        sender, attempt, made = payload.decode().split(" ")
        if abs(self._clock() - int(made)) > MAX_AGE:
            text = f"the clocks of two servers differ by more than {MAX_AGE:g} seconds"
            raise Unauthenticated(text, reason="CREDENTIALS_INVALID")
        if method != METHOD:
            text = f"servers ask each other for nothing but {METHOD}"
            raise Unauthenticated(text, reason="CREDENTIALS_INVALID")
        return Hop(f"server:{sender}", int(attempt))
