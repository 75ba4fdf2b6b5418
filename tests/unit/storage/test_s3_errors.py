"""What S3 answers, as the errors that all stores have."""

from __future__ import annotations

import pytest
from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from subgrpc.errors import RetryableError
from subgrpc_storage.s3_errors import s3_errors


def answer(code: str, status: int, message: str = "as the server says") -> ClientError:
    parts = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(parts, "PutObject")  # type: ignore[arg-type]


ANSWERS = [
    (answer("AccessDenied", 403), "STORE_ACCESS_DENIED", "read, write, list and delete"),
    (answer("InvalidAccessKeyId", 403), "STORE_ACCESS_DENIED", "AWS_ACCESS_KEY_ID"),
    (answer("SignatureDoesNotMatch", 403), "STORE_ACCESS_DENIED", "AWS_SECRET_ACCESS_KEY"),
    (answer("ExpiredToken", 400), "STORE_ACCESS_DENIED", "renew"),
    (answer("RequestTimeTooSkewed", 403), "STORE_ACCESS_DENIED", "clock"),
    (answer("403", 403), "STORE_ACCESS_DENIED", "HEAD|PutObject"),
    (answer("NoSuchBucket", 404), "STORE_MISCONFIGURED", "bucket"),
    (answer("PermanentRedirect", 301), "STORE_MISCONFIGURED", "region"),
    (answer("SomethingNew", 400), "STORE_MISCONFIGURED", "SomethingNew.*as the server says"),
    (answer("SlowDown", 503), "STORE_UNAVAILABLE", "SlowDown"),
    (answer("InternalError", 500), "STORE_UNAVAILABLE", "InternalError"),
    (answer("RequestTimeout", 400), "STORE_UNAVAILABLE", "RequestTimeout"),
    (answer("", 502), "STORE_UNAVAILABLE", "502"),
    (answer("TooManyRequests", 429), "STORE_UNAVAILABLE", "TooManyRequests"),
    (answer("XMinioStorageFull", 507), "STORE_FULL", "make room"),
    (answer("QuotaExceeded", 403), "STORE_FULL", "make room"),
    (answer("", 507), "STORE_FULL", "507"),
]
BEFORE = [
    (exceptions.NoCredentialsError(), "STORE_ACCESS_DENIED", "AWS_ACCESS_KEY_ID"),
    (exceptions.ConnectTimeoutError(endpoint_url="u"), "STORE_UNAVAILABLE", "timeout"),
    (exceptions.ReadTimeoutError(endpoint_url="u"), "STORE_UNAVAILABLE", "timeout"),
    (exceptions.EndpointConnectionError(endpoint_url="u"), "STORE_UNAVAILABLE", "u"),
    (exceptions.SSLError(endpoint_url="u", error="bad"), "STORE_MISCONFIGURED", "AWS_CA_BUNDLE"),
]


@pytest.mark.parametrize(("error", "reason", "text"), [*ANSWERS, *BEFORE])
def test_errors(error: ClientError | BotoCoreError, reason: str, text: str) -> None:
    """Each has a reason that programs know, the store's name, and what to do."""
    with pytest.raises(Exception, match=rf"(?s)'lake'.*({text})") as raised, s3_errors("lake"):
        raise error
    found = raised.value
    assert getattr(found, "reason", "") == reason
    if isinstance(found, RetryableError) and reason == "STORE_UNAVAILABLE":
        assert found.retry_after
