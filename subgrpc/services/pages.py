"""Pages of lists: their size, and tokens that are good for the same list only."""

from __future__ import annotations

import json
from typing import Any, Final

from subgrpc.metastore import ListPage
from subgrpc.services import wire
from subgrpc.tokens import Sealer, TokenCodec

DEFAULT_SIZE: Final = 50

Key = list[Any]
"""A place in a list: JSON scalars that the metastore gave out."""


class Pager:
    """The pages of one list request."""

    def __init__(self, tokens: TokenCodec, kind: str, *what: str) -> None:
        """Binds tokens to a list.

        Args:
            tokens: makes them.
            kind: the method.
            what: all that makes one list differ from another: parent, filter, order.
        """
        self._sealer: Sealer = tokens.sealer(f"page {kind}", json.dumps(what).encode())

    def start(self, token: str) -> Key | None:
        """The place that a request's page token stands for; None: the beginning.

        Raises:
            InvalidArgument: reason PAGE_TOKEN_INVALID.
        """
        if not token:
            return None
        payload = self._sealer.open(token, reason="PAGE_TOKEN_INVALID", field="page_token")
        key: Key = json.loads(payload)
        return key

    def token(self, key: Key | None) -> str:
        """The token of the page that starts behind a place; "": there is none."""
        return "" if key is None else self._sealer.seal(json.dumps(key).encode())

    def response(self, page: ListPage) -> bytes:
        """A serialised list response: the items in field 1, the next page's token in field 2."""
        body = wire.repeated(1, page.items)
        if page.next is None:
            return body
        return body + wire.length_delimited(2, self.token(page.next).encode())


def page_size(asked: int) -> int:
    """The greatest number of items of a page; 0 asks for the default."""
    return asked or DEFAULT_SIZE
