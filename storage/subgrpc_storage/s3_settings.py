"""What a store on S3 is configured with, and the client that follows from it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from subgrpc.artifacts import StoreSettings, failures

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

OPTIONS: Final = frozenset(
    {"endpoint_url", "region", "addressing", "profile", "connect_timeout", "timeout"}
)
Addressing = Literal["auto", "path", "virtual"]
ADDRESSING: Final = ("auto", "path", "virtual")
CONNECTIONS: Final = 32
TRIES: Final = 3
"""How often the SDK sends a request that fails for a passing reason."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)?")


@dataclass(frozen=True)
class S3Settings:
    """What stands in the settings of a store.

    Attributes:
        name: the store's name.
        bucket: its bucket.
        prefix: what its objects' names begin with: empty, or ending in a slash.
        endpoint_url: the server's address; None: AWS, or what its own configuration says.
        region: None: what AWS's own configuration says.
        addressing: how the bucket is named in requests: one of `ADDRESSING`.
        profile: which of the credentials of AWS's own configuration; None: the usual ones.
        connect_timeout: seconds until a connection is there; also for a piece to be sent.
        timeout: seconds for an answer, or for the next piece of one.
    """

    name: str
    bucket: str
    prefix: str
    endpoint_url: str | None
    region: str | None
    addressing: Addressing
    profile: str | None
    connect_timeout: float
    timeout: float

    @classmethod
    def of(cls, settings: StoreSettings) -> S3Settings:
        """Reads settings.

        Raises:
            InvalidArgument: STORE_INVALID. Addresses are not repeated: they may hold a password.
        """
        options = dict(settings.options)
        for option in options:
            if option not in OPTIONS:
                known = ", ".join(sorted(OPTIONS))
                text = f"an S3 store has no option {option!r}; there are: {known}"
                raise failures.invalid(settings.name, text)
        parts = urlsplit(settings.url)
        prefix = parts.path.strip("/")
        named = _BUCKET.fullmatch(parts.netloc) and _PREFIX.fullmatch(prefix)
        if not named or parts.scheme != "s3" or parts.query or parts.fragment:
            text = "its URL is not like s3://BUCKET/PREFIX (credentials do not stand in it)"
            raise failures.invalid(settings.name, text)
        addressing = options.get("addressing", "auto")
        if addressing not in ADDRESSING:
            text = f"the option addressing is one of {', '.join(ADDRESSING)}"
            raise failures.invalid(settings.name, text)
        return cls(
            name=settings.name,
            bucket=parts.netloc,
            prefix=f"{prefix}/" if prefix else "",
            endpoint_url=_endpoint(settings.name, options.get("endpoint_url")),
            region=options.get("region"),
            addressing=cast(Addressing, addressing),
            profile=options.get("profile"),
            connect_timeout=_seconds(settings, "connect_timeout", 5.0),
            timeout=_seconds(settings, "timeout", 15.0),
        )


def _endpoint(name: str, url: str | None) -> str | None:
    if url is None:
        return None
    parts = urlsplit(url)
    plain = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    if not plain or parts.path.strip("/") or parts.query or parts.fragment:
        text = "the option endpoint_url is not like https://HOST:PORT"
        raise failures.invalid(name, text)
    return url


def _seconds(settings: StoreSettings, option: str, default: float) -> float:
    try:
        found = float(settings.options.get(option, default))
    except ValueError:
        found = 0.0
    if not 0 < found <= 3600:
        raise failures.invalid(settings.name, f"the option {option} is a number of seconds")
    return found


def client_of(settings: S3Settings) -> S3Client:
    """Makes a client; its credentials come from where AWS's own tools take them.

    Raises:
        InvalidArgument: STORE_INVALID: no region, say.
    """
    config = Config(
        signature_version="s3v4",
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.timeout,
        retries={"mode": "standard", "total_max_attempts": TRIES},
        max_pool_connections=CONNECTIONS,
        # Every content that is sent has a checksum in a signed header: that is as good as a
        # signature of the content, and computed once.
        s3={"addressing_style": settings.addressing, "payload_signing_enabled": False},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        session = boto3.session.Session(profile_name=settings.profile)
        client = session.client(
            "s3", region_name=settings.region, endpoint_url=settings.endpoint_url, config=config
        )
    except (BotoCoreError, ValueError) as error:
        raise failures.invalid(settings.name, f"{error}; see the options of the store") from error
    client.meta.events.register_last("before-call.s3", _expect_nothing)
    return client


def _expect_nothing(params: dict[str, Any], **_: object) -> None:
    """Takes back `Expect: 100-continue`.

    Of a connection that ends in the middle of the server's `100 Continue` botocore reads for ever
    (`AWSConnection._consume_headers`, seen in 1.44).
    """
    params["headers"].pop("Expect", None)


def verification() -> str | bool:
    """How TLS certificates are verified: by a file of authorities, or those that are known."""
    session = botocore.session.get_session()
    bundle: str | None = session.get_config_variable("ca_bundle")
    return bundle or os.environ.get("REQUESTS_CA_BUNDLE") or True
