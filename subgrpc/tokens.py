"""Opaque tokens (pages, resumed streams): authenticated, and good for one purpose only.

A token is `version | MAC | payload` in URL-safe base64 without padding. The MAC is HMAC-SHA256,
cut to 16 bytes, under a key derived from the control plane's token key, its history id and the
token's kind, so that any server of the same control plane accepts the token, and none does after
a restore has changed the history, or for another purpose. The payload is not secret.
"""

from __future__ import annotations

import binascii
import hmac
import json
from typing import Any, Final

from subgrpc.errors import FieldViolation, InvalidArgument

MAX_LENGTH: Final = 2048
"""Greatest number of characters that a token has; as in the protos."""

BOUND: Final = 256
"""So many derived keys are kept: the same list is asked for again and again."""

_VERSION: Final = 1
_MAC_SIZE: Final = 16
_HEAD_SIZE: Final = 1 + _MAC_SIZE
_HEAD: Final = bytes([_VERSION])
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")
_encode_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


class Sealer:
    """Makes and opens the tokens of one purpose: for streams that make one for every frame."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        """`key` is derived by `TokenCodec.sealer`."""
        self._key = key

    def seal(self, payload: bytes) -> str:
        """Returns the token of a payload."""
        mac = hmac.digest(self._key, payload, "sha256")[:_MAC_SIZE]
        return _to_text(_HEAD + mac + payload)

    def open(self, token: str, *, reason: str, field: str) -> bytes:
        """Returns the payload of a token.

        Raises:
            InvalidArgument: this sealer never made it; with `reason`, and a violation of `field`.
        """
        raw = _from_text(token)
        if raw is None or len(raw) < _HEAD_SIZE or raw[0] != _VERSION:
            raise _refusal(reason, field, "is not a token of this system")
        payload = raw[_HEAD_SIZE:]
        mac = hmac.digest(self._key, payload, "sha256")[:_MAC_SIZE]
        if not hmac.compare_digest(mac, raw[1:_HEAD_SIZE]):
            raise _refusal(reason, field, "was not made for this request by this system")
        return payload


class TokenCodec:
    """Makes and opens the tokens of one control plane."""

    def __init__(self, key: bytes, history_id: str) -> None:
        """Takes what `Metastore.identity` holds.

        Args:
            key: the secret key, 32 bytes.
            history_id: changes when the metastore is restored; older tokens are then refused.
        """
        self._key = key
        self._history_id = history_id.encode()
        self._bound: dict[tuple[str, bytes], Sealer] = {}

    def seal(self, kind: str, payload: Any) -> str:
        """Returns a token that holds anything that JSON can hold.

        Args:
            kind: the token's purpose, such as "experiments"; a token of one is none of another.
            payload: lists, dicts with string keys, strings, finite numbers, booleans and None.

        Raises:
            ValueError: the token would be longer than `MAX_LENGTH`.
        """
        token = self.sealer(kind).seal(_encode_json(payload).encode())
        if len(token) > MAX_LENGTH:
            raise ValueError(
                f"a token of {len(token)} characters; at most {MAX_LENGTH} are allowed"
            )
        return token

    def open(
        self,
        kind: str,
        token: str,
        *,
        reason: str = "PAGE_TOKEN_INVALID",
        field: str = "page_token",
    ) -> Any:
        """Returns what `seal` was given for this token.

        Raises:
            InvalidArgument: the token is garbage, forged, of another kind, or of another history.
        """
        return json.loads(self.sealer(kind).open(token, reason=reason, field=field))

    def sealer(self, kind: str, context: bytes = b"") -> Sealer:
        """Returns the sealer of a kind whose tokens are bound to a context that they do not hold.

        Args:
            kind: the tokens' purpose; distinct from the kinds of `seal`.
            context: what else must be the same when a token comes back, such as the request.
        """
        known = self._bound.get((kind, context))
        if known is None:
            if len(self._bound) >= BOUND:
                self._bound.clear()
            known = self._bound[kind, context] = self._derived(kind, context)
        return known

    def _derived(self, kind: str, context: bytes) -> Sealer:
        parts = (b"subgrpc token", self._history_id, kind.encode(), context)
        # Each part goes with its length: no two lists of parts look the same.
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return Sealer(hmac.digest(self._key, message, "sha256"))


def _to_text(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).translate(_TO_URL).rstrip(b"=").decode("ascii")


def _from_text(token: str) -> bytes | None:
    if not token.isascii() or len(token) > MAX_LENGTH:
        return None
    try:
        text = token.encode("ascii").translate(_FROM_URL)
        raw = binascii.a2b_base64(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        return None
    # The decoder skips characters it does not know, and spare bits: a token has one spelling.
    return raw if _to_text(raw) == token else None


def _refusal(reason: str, field: str, description: str) -> InvalidArgument:
    return InvalidArgument(
        violations=[FieldViolation(field, f"{description}; start again without it", reason)],
        reason=reason,
    )
